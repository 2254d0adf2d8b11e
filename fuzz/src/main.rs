//! Runs a target on mutated seeds until the time is over or something fails. See `README.md`.

mod mutate;
mod random;
mod targets;

use std::{
    collections::HashSet,
    fs, panic,
    process::ExitCode,
    time::{Duration, Instant},
};

use mutate::Mutator;
use random::Random;
use targets::{TARGETS, Target};

const USAGE: &str = "usage: TARGET|all [--seconds NUMBER] [--seed NUMBER] [--input FILE]";

/// Inputs that are kept for mutation, besides the seeds.
const MAX_POOL: usize = 4096;

struct Options {
    target: String,
    seconds: u64,
    seed: u64,
    input: Option<String>,
}

fn main() -> ExitCode {
    let Some(options) = options() else {
        eprintln!("{USAGE}");
        eprintln!("targets: {}", TARGETS.map(|target| target.name).join(", "));
        return ExitCode::from(64);
    };
    let chosen: Vec<_> = TARGETS.iter().filter(|target| options.target == "all" || options.target == target.name).collect();
    for target in &chosen {
        let passed = match &options.input {
            Some(file) => again(target, file),
            None => fuzz(target, &options),
        };
        if !passed {
            return ExitCode::FAILURE;
        }
    }
    if chosen.is_empty() { ExitCode::from(64) } else { ExitCode::SUCCESS }
}

fn options() -> Option<Options> {
    let mut args = std::env::args().skip(1);
    let mut options = Options { target: args.next()?, seconds: 60, seed: 1, input: None };
    while let Some(name) = args.next() {
        let value = args.next()?;
        match name.as_str() {
            "--seconds" => options.seconds = value.parse().ok()?,
            "--seed" => options.seed = value.parse().ok()?,
            "--input" => options.input = Some(value),
            _ => return None,
        }
    }
    Some(options)
}

/// One input as it is, for whoever looks into a failure.
fn again(target: &Target, file: &str) -> bool {
    let Ok(input) = fs::read(file) else {
        eprintln!("cannot read {file}");
        return false;
    };
    (target.run)(&input);
    println!("{}: {file} passes", target.name);
    true
}

fn fuzz(target: &Target, options: &Options) -> bool {
    let mut mutator = Mutator::new(Random::new(options.seed), target.seeds, target.words);
    let (mut pool, mut seen) = (Vec::new(), HashSet::new());
    let end = Instant::now() + Duration::from_secs(options.seconds);
    let mut runs = 0_u64;
    for seed in target.seeds {
        pool.push(seed.as_bytes().to_vec());
    }
    while runs % 64 != 0 || Instant::now() < end {
        let input = if let Some(seed) = usize::try_from(runs).ok().and_then(|run| target.seeds.get(run)) {
            seed.as_bytes().to_vec()
        } else {
            mutator.next(&pool)
        };
        runs += 1;
        let Ok(outcome) = panic::catch_unwind(|| (target.run)(&input)) else {
            return failed(target, &input);
        };
        if seen.insert(outcome) && pool.len() < MAX_POOL {
            pool.push(input);
        }
    }
    println!("{}: {runs} inputs in {} s, {} different outcomes, none bad", target.name, options.seconds, seen.len());
    true
}

fn failed(target: &Target, input: &[u8]) -> bool {
    let file = format!("failures/{}-{:016x}", target.name, targets::hash(&input));
    let kept = fs::create_dir_all("failures").and_then(|()| fs::write(&file, input));
    println!("{} fails on {:?}", target.name, String::from_utf8_lossy(input));
    match kept {
        Ok(()) => println!("kept as {file}"),
        Err(error) => println!("not kept: {error}"),
    }
    false
}
