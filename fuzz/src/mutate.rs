//! Makes inputs of others: bytes and words are put in, taken out, repeated, and crossed with other inputs.

use crate::random::Random;

/// Bytes of an input. Bounds have tests of their own.
const MAX: usize = 2048;

/// Bytes that mean something in one grammar or another.
const ODD: &[u8] = b"\0\t\n\x0b\x0c\r \x1b!\"#$%&'()*+,-./:;<=>?@[\\]^_`{|}~\x7f\x80\x85\xa0\xad\xc2\xe2\xef\xf0\xff09azAZ";

pub(crate) struct Mutator {
    random: Random,
    words: Vec<Vec<u8>>,
}

impl Mutator {
    /// `words` are pieces of the target's grammar; its seeds are cut into more of them.
    pub(crate) fn new(random: Random, seeds: &[&str], words: &[&str]) -> Self {
        let pieces = seeds.iter().flat_map(|seed| seed.split_inclusive([' ', '\n', ',', ':', '/', '=']));
        let words = words.iter().copied().chain(pieces).map(|word| word.as_bytes().to_vec()).collect();
        Self { random, words }
    }

    pub(crate) fn next(&mut self, pool: &[Vec<u8>]) -> Vec<u8> {
        let mut input = pool[self.random.below(pool.len())].clone();
        for _ in 0..=self.random.below(6) {
            self.change(&mut input, pool);
        }
        input.truncate(MAX);
        input
    }

    fn change(&mut self, input: &mut Vec<u8>, pool: &[Vec<u8>]) {
        let at = self.random.below(input.len() + 1);
        let end = (at + self.random.below(16)).min(input.len());
        match self.random.below(9) {
            0 => drop(input.drain(at..end)),
            1 => {
                let piece = input[at..end].repeat(1 + self.random.below(4));
                input.splice(at..at, piece);
            }
            2 if at < input.len() => input[at] ^= 1 << self.random.below(8),
            3 if at < input.len() => input[at] = self.odd(),
            4 => {
                let other = &pool[self.random.below(pool.len())];
                let from = self.random.below(other.len() + 1);
                let piece = other[from..(from + self.random.below(64)).min(other.len())].to_vec();
                input.splice(at..end, piece);
            }
            5 | 6 if !self.words.is_empty() => {
                let word = self.words[self.random.below(self.words.len())].clone();
                input.splice(at..at, word);
            }
            7 => {
                let c = char::from_u32(u32::try_from(self.random.below(0x11_0000)).unwrap_or_default()).unwrap_or('\u{fffd}');
                input.splice(at..at, c.to_string().into_bytes());
            }
            _ => {
                let byte = self.odd();
                input.insert(at, byte);
            }
        }
    }

    fn odd(&mut self) -> u8 {
        ODD[self.random.below(ODD.len())]
    }
}
