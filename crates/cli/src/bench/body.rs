//! Bodies as devices send them: JSON with numbers that move as a machine's do.

use anyhow::ensure;
use clap::Args;
use rand::rngs::StdRng;
use rand::{Rng as _, SeedableRng as _};

/// Different bodies a device sends in turn.
const BODIES: usize = 64;
const NAMES: [&str; 4] = ["temperature", "pressure", "vibration", "current"];

#[derive(Args, Clone)]
pub(crate) struct BodyArgs {
    /// Bytes of each message body.
    #[arg(long, default_value_t = 256)]
    size: usize,
    /// Numeric fields of each body.
    #[arg(long, default_value_t = 4)]
    fields: usize,
    /// Share of bodies that are no JSON, from 0 to 1.
    #[arg(long, default_value_t = 0.0)]
    opaque_share: f64,
}

impl BodyArgs {
    /// What a device sends in turn, the same in every run.
    ///
    /// # Errors
    /// When the fields do not fit.
    pub(super) fn bodies(&self, device: usize) -> anyhow::Result<Vec<Vec<u8>>> {
        ensure!((0.0..=1.0).contains(&self.opaque_share), "--opaque-share must be from 0 to 1");
        let mut random = StdRng::seed_from_u64(device as u64);
        let opaque = |n: usize| (n as f64 * self.opaque_share).floor() as usize;
        (0..BODIES)
            .map(|n| if opaque(n + 1) > opaque(n) { Ok(vec![b'x'; self.size]) } else { self.json(n, &mut random) })
            .collect()
    }

    fn json(&self, n: usize, random: &mut StdRng) -> anyhow::Result<Vec<u8>> {
        let mut body = String::from("{");
        for field in 0..self.fields {
            let name = NAMES.get(field).map_or_else(|| format!("signal{field}"), |name| (*name).to_owned());
            let wave = (n as f64 / BODIES as f64 * std::f64::consts::TAU).sin();
            let value = 20.0 * (field + 1) as f64 + 3.0 * wave + random.random_range(-1.0..1.0);
            body.push_str(&format!("\"{name}\":{value:.3},"));
        }
        body.push_str("\"note\":\"");
        let rest = self.size.checked_sub(body.len() + 2);
        let Some(rest) = rest else {
            anyhow::bail!("{} fields do not fit into {} bytes; --size must be larger", self.fields, self.size)
        };
        body.push_str(&"x".repeat(rest));
        body.push_str("\"}");
        Ok(body.into_bytes())
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn args(size: usize, fields: usize, opaque_share: f64) -> BodyArgs {
        BodyArgs { size, fields, opaque_share }
    }

    #[test]
    fn bodies_have_their_size_and_their_numbers() {
        for body in args(256, 6, 0.0).bodies(1).unwrap() {
            assert_eq!(body.len(), 256);
            let body: serde_json::Map<String, serde_json::Value> = serde_json::from_slice(&body).unwrap();
            assert_eq!(body.values().filter(|value| value.is_f64()).count(), 6);
        }
        assert_eq!(args(256, 4, 0.0).bodies(1).unwrap(), args(256, 4, 0.0).bodies(1).unwrap());
        assert!(args(40, 4, 0.0).bodies(1).unwrap_err().to_string().contains("--size"));
    }

    #[test]
    fn as_many_are_opaque_as_was_asked_for() {
        for (share, expected) in [(0.0, 0), (0.25, 16), (1.0, 64)] {
            let bodies = args(256, 4, share).bodies(1).unwrap();
            assert_eq!(bodies.iter().filter(|body| body[0] == b'x').count(), expected);
        }
        assert!(args(256, 4, 1.5).bodies(1).is_err());
    }
}
