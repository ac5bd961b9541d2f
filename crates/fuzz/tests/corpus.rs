//! Every target over its corpus, and over mutations of it that are the same each time.

use std::panic::{AssertUnwindSafe, catch_unwind};
use std::path::Path;

use gantry_fuzz::TARGETS;

/// Mutated inputs for each target.
const MUTATIONS: u64 = 3_000;
const INPUT_BYTES_MAX: usize = 4096;

/// SplitMix64.
struct Random(u64);

impl Random {
    fn next(&mut self) -> u64 {
        self.0 = self.0.wrapping_add(0x9E37_79B9_7F4A_7C15);
        let mut z = self.0;
        z = (z ^ (z >> 30)).wrapping_mul(0xBF58_476D_1CE4_E5B9);
        z = (z ^ (z >> 27)).wrapping_mul(0x94D0_49BB_1331_11EB);
        z ^ (z >> 31)
    }

    fn below(&mut self, end: usize) -> usize {
        (self.next() % end.max(1) as u64) as usize
    }
}

fn corpus(name: &str) -> Vec<Vec<u8>> {
    let folder = Path::new(env!("CARGO_MANIFEST_DIR")).join("corpus").join(name);
    let entries = std::fs::read_dir(&folder).unwrap_or_else(|error| panic!("{}: {error}", folder.display()));
    let mut paths: Vec<_> = entries.map(|entry| entry.unwrap().path()).collect();
    paths.sort();
    paths.iter().map(|path| std::fs::read(path).unwrap()).collect()
}

/// One input made of others: bytes changed, inserted, removed, repeated, or taken from another.
fn mutated(seeds: &[Vec<u8>], random: &mut Random) -> Vec<u8> {
    const TELLING: [u8; 14] = [0, 1, 0x7f, 0x80, 0xff, b'"', b'{', b'}', b'\'', b'%', b'/', b'&', b'\n', b' '];
    let mut input = seeds[random.below(seeds.len())].clone();
    for _ in 0..=random.below(5) {
        let at = random.below(input.len() + 1);
        let len = random.below(12).min(input.len() - at);
        match random.below(7) {
            0 if at < input.len() => input[at] ^= 1 << random.below(8),
            1 if at < input.len() => input[at] = TELLING[random.below(TELLING.len())],
            2 => input.insert(at, random.next() as u8),
            3 => drop(input.drain(at..at + len)),
            4 => {
                let piece = input[at..at + len].to_vec();
                (0..random.below(30)).for_each(|_| drop(input.splice(at..at, piece.iter().copied())));
            }
            5 => {
                let other = &seeds[random.below(seeds.len())];
                let from = random.below(other.len() + 1);
                let to = from + random.below(40).min(other.len() - from);
                drop(input.splice(at..at, other[from..to].iter().copied()));
            }
            _ => input.truncate(at),
        }
        input.truncate(INPUT_BYTES_MAX);
    }
    input
}

#[test]
fn every_target_survives_its_corpus_and_mutations_of_it() {
    for (name, target) in TARGETS {
        let seeds = corpus(name);
        let mut random = Random(1);
        // A log has threads of its own, which take longer than what is done with a few bytes.
        let count = if *name == "event_log" { MUTATIONS / 10 } else { MUTATIONS };
        let mutations = (0..count).map(|_| mutated(&seeds, &mut random));
        for input in seeds.iter().cloned().chain(mutations.collect::<Vec<_>>()) {
            let survived = catch_unwind(AssertUnwindSafe(|| target(&input)));
            assert!(survived.is_ok(), "target `{name}` did not survive b\"{}\"", input.escape_ascii());
        }
    }
}
