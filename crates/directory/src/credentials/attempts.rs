//! Guessing is made slow: each further failure of one user, or from one address, means a longer wait.
//!
//! An attempt counts as a failure when it is admitted, before the password is looked at: many at once count as many.
//! Success takes that back. Names count whether or not somebody has them, so waits do not tell who exists.
//!
//! Invariant: at most [`ATTEMPT_KEYS_MAX`] users and as many addresses are remembered; when there are more, the ones
//! with the fewest failures go first, so nobody makes us forget a guessed user by trying many names once.

use std::collections::HashMap;
use std::hash::Hash;
use std::net::{IpAddr, Ipv6Addr};
use std::time::Duration;

use gantry_identity::Timestamp;

/// Users, and addresses, whose failures are remembered.
pub const ATTEMPT_KEYS_MAX: usize = 10_000;
/// Longest name of a user, bytes.
pub const NAME_LEN_MAX: usize = 256;
/// How long failures are remembered after the last.
const MEMORY: Duration = Duration::from_secs(24 * 3600);

/// How waits grow.
#[derive(Clone, Copy, Debug)]
struct Rule {
    /// Failures without a wait.
    free: u32,
    /// The first wait; each further failure doubles it.
    first: Duration,
    /// The longest wait.
    longest: Duration,
}

/// About a hundred guesses a day once the longest wait is reached; nobody is locked out for longer than that.
const USER: Rule = Rule { free: 5, first: Duration::from_secs(30), longest: Duration::from_secs(15 * 60) };
/// Many people may share an address.
const ADDRESS: Rule = Rule { free: 20, first: Duration::from_secs(10), longest: Duration::from_secs(3600) };

/// Too many failures; says when to come again.
#[derive(Debug, thiserror::Error, Clone, Copy, PartialEq, Eq)]
#[error("too many failed attempts of this {of}: wait {} s", retry_after.as_secs())]
pub struct Wait {
    /// `user` or `address`.
    pub of: &'static str,
    /// How long.
    pub retry_after: Duration,
}

/// An attempt that may go on; give it back with its outcome, or leave it: then it failed.
#[derive(Debug)]
#[must_use]
pub struct Admitted {
    user: String,
    address: IpAddr,
}

/// Failures of users and from addresses.
#[derive(Debug, Default)]
pub struct Attempts {
    users: Failures<String>,
    addresses: Failures<IpAddr>,
}

impl Attempts {
    /// Lets an attempt of a user, from an address, go on.
    ///
    /// # Errors
    /// [`Wait`], which does not count as another failure.
    pub fn admit(&mut self, user: &str, address: IpAddr, now: Timestamp) -> Result<Admitted, Wait> {
        let user: String = user.chars().take(NAME_LEN_MAX).flat_map(char::to_lowercase).collect();
        let address = network(address);
        self.addresses.check(&address, ADDRESS, now).map_err(|retry_after| Wait { of: "address", retry_after })?;
        self.users.check(&user, USER, now).map_err(|retry_after| Wait { of: "user", retry_after })?;
        self.users.add(user.clone(), now);
        self.addresses.add(address, now);
        Ok(Admitted { user, address })
    }

    /// They are who they say: the user's failures are forgotten. Those from the address are not, or whoever has one
    /// account could guess at all others.
    pub fn succeeded(&mut self, admitted: Admitted) {
        self.users.0.remove(&admitted.user);
        self.addresses.take_back(&admitted.address);
    }

    /// Nothing was wrong, but something is missing (the second factor): the attempt does not count.
    pub fn undecided(&mut self, admitted: Admitted) {
        self.users.take_back(&admitted.user);
        self.addresses.take_back(&admitted.address);
    }

    /// An administrator lets a user try again at once.
    pub fn forgive(&mut self, user: &str) {
        self.users.0.remove(&user.to_lowercase());
    }
}

/// One subscriber has an IPv6 network of 64 bits; what came over a socket for both is the IPv4 address it holds.
fn network(address: IpAddr) -> IpAddr {
    match address.to_canonical() {
        IpAddr::V6(v6) => IpAddr::V6(Ipv6Addr::from_bits(v6.to_bits() & !u128::from(u64::MAX))),
        v4 => v4,
    }
}

#[derive(Debug)]
struct Failures<K>(HashMap<K, Failed>);

impl<K> Default for Failures<K> {
    fn default() -> Self {
        Self(HashMap::new())
    }
}

#[derive(Clone, Copy, Debug)]
struct Failed {
    count: u32,
    last: Timestamp,
}

impl<K: Hash + Eq + Clone> Failures<K> {
    fn check(&self, key: &K, rule: Rule, now: Timestamp) -> Result<(), Duration> {
        let Some(failed) = self.0.get(key).filter(|failed| now.since(failed.last) < MEMORY) else { return Ok(()) };
        let Some(beyond) = failed.count.checked_sub(rule.free) else { return Ok(()) };
        let wait = rule.first.saturating_mul(2_u32.saturating_pow(beyond)).min(rule.longest);
        let left = wait.saturating_sub(now.since(failed.last));
        if left.is_zero() { Ok(()) } else { Err(left) }
    }

    fn add(&mut self, key: K, now: Timestamp) {
        if self.0.len() >= ATTEMPT_KEYS_MAX && !self.0.contains_key(&key) {
            self.make_room(now);
        }
        let failed = self.0.entry(key).or_insert(Failed { count: 0, last: now });
        let before = if now.since(failed.last) < MEMORY { failed.count } else { 0 };
        *failed = Failed { count: before.saturating_add(1), last: now };
    }

    fn take_back(&mut self, key: &K) {
        let Some(failed) = self.0.get_mut(key) else { return };
        failed.count = failed.count.saturating_sub(1);
        if failed.count == 0 {
            self.0.remove(key);
        }
    }

    fn make_room(&mut self, now: Timestamp) {
        self.0.retain(|_, failed| now.since(failed.last) < MEMORY);
        while self.0.len() >= ATTEMPT_KEYS_MAX {
            let least = self.0.iter().min_by_key(|(_, failed)| (failed.count, failed.last));
            let Some(key) = least.map(|(key, _)| key.clone()) else { return };
            self.0.remove(&key);
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const HERE: IpAddr = IpAddr::V4(std::net::Ipv4Addr::new(10, 0, 0, 7));

    fn at(secs: u64) -> Timestamp {
        Timestamp::from_millis(0).plus(Duration::from_secs(secs))
    }

    fn address(n: u16) -> IpAddr {
        IpAddr::V4(std::net::Ipv4Addr::from_bits(u32::from(n)))
    }

    /// Fails as often as is admitted at once, from a new address each time.
    fn fail(attempts: &mut Attempts, user: &str, now: Timestamp) -> (u16, Wait) {
        for n in 0.. {
            if let Err(wait) = attempts.admit(user, address(n), now) {
                return (n, wait);
            }
        }
        unreachable!("somebody waits at last");
    }

    #[test]
    fn waits_of_a_user_grow_to_a_quarter_of_an_hour() {
        let mut attempts = Attempts::default();
        let (count, wait) = fail(&mut attempts, "jane", at(0));
        assert_eq!((count, wait), (5, Wait { of: "user", retry_after: Duration::from_secs(30) }));
        let mut now = 0;
        for expected in [60, 120, 240, 480, 900, 900] {
            now += wait_of(&mut attempts, now);
            assert!(attempts.admit("JANE", HERE, at(now)).is_ok(), "after the wait, without case");
            assert_eq!(wait_of(&mut attempts, now), expected);
        }
        assert!(attempts.admit("john", HERE, at(now)).is_ok(), "others do not wait");
    }

    fn wait_of(attempts: &mut Attempts, now: u64) -> u64 {
        attempts.admit("jane", HERE, at(now)).unwrap_err().retry_after.as_secs()
    }

    #[test]
    fn an_address_waits_whoever_it_names() {
        let mut attempts = Attempts::default();
        for n in 0..20 {
            let _ = attempts.admit(&format!("u{n}"), HERE, at(0)).unwrap();
        }
        let wait = attempts.admit("u99", HERE, at(0)).unwrap_err();
        assert_eq!((wait.of, wait.retry_after), ("address", Duration::from_secs(10)));
        assert!(attempts.admit("u99", "::ffff:10.0.0.7".parse().unwrap(), at(0)).is_err(), "the same, over IPv6");
        assert!(attempts.admit("u99", address(1), at(0)).is_ok());
    }

    #[test]
    fn a_subscriber_of_ipv6_is_one_address() {
        let of = |text: &str| network(text.parse().unwrap());
        assert_eq!(of("2001:db8:1:2::1"), of("2001:db8:1:2:ffff::9"));
        assert_ne!(of("2001:db8:1:2::1"), of("2001:db8:1:3::1"));
    }

    #[test]
    fn success_forgets_the_user_and_not_the_address() {
        let mut attempts = Attempts::default();
        for _ in 0..4 {
            for _ in 0..4 {
                let _ = attempts.admit("jane", HERE, at(0)).unwrap();
            }
            let admitted = attempts.admit("jane", HERE, at(0)).unwrap();
            attempts.succeeded(admitted);
        }
        assert_eq!(attempts.addresses.0[&HERE].count, 16);
        let admitted = attempts.admit("jane", HERE, at(0)).unwrap();
        attempts.undecided(admitted);
        assert_eq!((attempts.users.0.len(), attempts.addresses.0[&HERE].count), (0, 16));
    }

    #[test]
    fn failures_are_forgotten_after_a_day_or_by_an_administrator() {
        let mut attempts = Attempts::default();
        fail(&mut attempts, "jane", at(0));
        attempts.forgive("Jane");
        assert_eq!(fail(&mut attempts, "jane", at(0)).0, 5);
        assert_eq!(fail(&mut attempts, "jane", at(86_400)).0, 5);
    }

    #[test]
    fn many_names_do_not_make_us_forget_one() {
        let mut attempts = Attempts::default();
        fail(&mut attempts, "jane", at(0));
        for n in 0..ATTEMPT_KEYS_MAX + 5 {
            attempts.users.add(format!("u{n}"), at(1));
        }
        assert_eq!(attempts.users.0.len(), ATTEMPT_KEYS_MAX);
        assert!(attempts.admit("jane", HERE, at(2)).is_err());
    }
}
