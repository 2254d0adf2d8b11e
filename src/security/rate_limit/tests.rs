use governor::clock::FakeRelativeClock;

use super::*;

const SECOND: Duration = Duration::from_secs(1);

fn rate(per_minute: u32) -> Rate {
    Rate::per_minute(NonZeroU32::new(per_minute).expect("a number above zero"))
}

fn app() -> Author {
    Author::App
}

#[test]
fn a_minutes_quota_may_be_used_at_once_and_comes_back_one_by_one() {
    let clock = FakeRelativeClock::default();
    let bucket = Bucket::with_clock(rate(60), clock.clone());
    assert_eq!((0..70).filter(|_| bucket.take().is_ok()).count(), 60);
    assert_eq!(bucket.take(), Err(SECOND));
    clock.advance(Duration::from_millis(400));
    assert_eq!(bucket.take(), Err(Duration::from_millis(600)));
    clock.advance(Duration::from_millis(600));
    assert_eq!((bucket.take(), bucket.take()), (Ok(()), Err(SECOND)));
    clock.advance(60 * SECOND);
    assert_eq!((0..70).filter(|_| bucket.take().is_ok()).count(), 60);
    // A pause of any length gives no more than a burst.
    clock.advance(24 * 3600 * SECOND);
    assert_eq!((0..70).filter(|_| bucket.take().is_ok()).count(), 60);
}

#[test]
fn a_burst_may_be_smaller_than_the_quota() {
    let clock = FakeRelativeClock::default();
    let burst = NonZeroU32::new(5).expect("a number above zero");
    let bucket = Bucket::with_clock(Rate { burst, ..rate(60) }, clock.clone());
    assert_eq!((0..70).filter(|_| bucket.take().is_ok()).count(), 5);
    let in_a_minute = (0..60).filter(|_| {
        clock.advance(SECOND);
        bucket.take().is_ok()
    });
    assert_eq!(in_a_minute.count(), 60);
}

#[test]
fn each_address_has_its_own() {
    let addresses = Addresses::with_clock(rate(2), &FakeRelativeClock::default(), 100, 1);
    let taken = |from: &str| (0..5).filter(|_| addresses.bucket(from.parse().expect("an address")).take().is_ok()).count();
    assert_eq!((taken("192.0.2.1"), taken("192.0.2.1"), taken("192.0.2.2")), (2, 0, 2));
    assert_eq!(taken("::ffff:192.0.2.1"), 0, "the same host by another spelling");
    // Whoever has one address of an IPv6 network has 2^64 of them.
    assert_eq!((taken("2001:db8:0:1::1"), taken("2001:db8:0:1::2"), taken("2001:db8:0:2::1")), (2, 0, 2));
}

#[test]
fn addresses_without_end_take_no_memory_without_end() {
    let clock = FakeRelativeClock::default();
    let addresses = Addresses::with_clock(rate(2), &clock, 10, 1);
    let from = |n: u32| IpAddr::V4(n.into());
    let admitted = (0..1000).filter(|n| addresses.bucket(from(*n)).take().is_ok()).count();
    // Ten that are told apart, each of which asked once, and two of the shared bucket.
    assert_eq!((admitted, addresses.len()), (12, 10));
    clock.advance(60 * SECOND);
    addresses.tidy();
    assert_eq!(addresses.len(), 0);
    assert!((0..2).all(|_| addresses.bucket(from(5000)).take().is_ok()) && addresses.bucket(from(5000)).take().is_err());
    assert_eq!(addresses.len(), 1);
}

#[test]
fn a_bucket_is_not_forgotten_before_it_is_full_again() {
    let clock = FakeRelativeClock::default();
    let addresses = Addresses::with_clock(rate(2), &clock, 10, 1);
    let from = IpAddr::V4(1.into());
    let held = addresses.bucket(from);
    assert!((0..2).all(|_| held.take().is_ok()));
    clock.advance(600 * SECOND);
    addresses.tidy();
    assert_eq!(addresses.len(), 1, "it is in use");
    assert!((0..2).all(|_| held.take().is_ok()));
    drop(held);
    // One comes back each half minute.
    for _ in 0..2 {
        clock.advance(29 * SECOND);
        addresses.tidy();
        assert_eq!(addresses.len(), 1);
    }
    clock.advance(2 * SECOND);
    addresses.tidy();
    assert_eq!(addresses.len(), 0);
}

#[test]
fn sessions_without_end_are_no_quota_without_end() {
    let rate = rate(3);
    let limiter = Limiter::new(Rates { tools: Some(rate), ..Rates::default() });
    let addresses = Addresses::new(rate.times(ADDRESS_FACTOR));
    let session = |from: &str| limiter.allowance().within(&addresses, from.parse().expect("an address"));
    let taken = |principal: &Allowance| (0..5).filter(|_| limiter.admit(principal, What::ToolCall, app).is_ok()).count();
    let sessions = || (0..100).map(|n| taken(&session(&format!("2001:db8::{n}")))).sum::<usize>();
    assert_eq!((sessions(), sessions()), (30, 0));
    assert_eq!(taken(&session("192.0.2.1")), 3, "another address");
    let refused = limiter.admit(&session("2001:db8::1"), What::ToolCall, app).expect_err("nothing is left");
    assert_eq!((refused.limit, refused.rate.per_minute.get()), (Limit::Address, 30));
    assert!(refused.to_string().starts_with("too many calls: 30 tool calls of one address a minute are allowed"), "{refused}");
    // One session that has used up its own takes nothing from the others.
    let greedy = session("192.0.2.2");
    assert_eq!((taken(&greedy), taken(&greedy), taken(&greedy)), (3, 0, 0));
    assert_eq!((0..20).map(|_| taken(&session("192.0.2.2"))).sum::<usize>(), 27);
}

#[test]
fn principals_do_not_use_up_each_others_quota() {
    let limiter = Limiter::new(Rates { tools: Some(rate(3)), ..Rates::default() });
    let (one, other) = (limiter.allowance(), limiter.allowance());
    let taken = |principal: &Allowance| (0..5).filter(|_| limiter.admit(principal, What::ToolCall, app).is_ok()).count();
    assert_eq!((taken(&one), taken(&other), taken(&one)), (3, 3, 0));
    assert!(limiter.admit(&one, What::Other, app).is_ok(), "only tool calls are counted for each");
    let refused = limiter.admit(&one, What::ToolCall, app).expect_err("nothing is left");
    assert_eq!(refused.to_string(), "too many calls: 3 tool calls a minute are allowed (`--rate-limit-tools`); try again in 20 s");
}

#[test]
fn sessions_of_one_key_are_one_principal() {
    let process = Limiter::new(Rates { tools: Some(rate(3)), ..Rates::default() });
    let (limiter, another) = (process.of_one_principal(), process.of_one_principal());
    let taken = |limiter: &Limiter| {
        let session = limiter.allowance();
        (0..2).filter(|_| limiter.admit(&session, What::ToolCall, app).is_ok()).count()
    };
    assert_eq!((taken(&limiter), taken(&limiter), taken(&limiter), taken(&another)), (2, 1, 0, 2));
}

#[test]
fn all_together_have_a_limit_which_one_alone_cannot_use_up() {
    let limiter = Limiter::new(Rates { tools: Some(rate(3)), global: Some(rate(5)), ..Rates::default() });
    let (greedy, modest) = (limiter.allowance(), limiter.clone().allowance());
    let taken = |principal: &Allowance, kind| (0..100).filter(|_| limiter.admit(principal, kind, app).is_ok()).count();
    assert_eq!((taken(&greedy, What::ToolCall), taken(&modest, What::ToolCall)), (3, 2));
    let refused = limiter.admit(&modest, What::Other, app).expect_err("nothing is left");
    assert_eq!((refused.limit, refused.rate.per_minute.get()), (Limit::Global, 5));
}

#[test]
fn ones_own_machine_is_limited_on_request_only() {
    let taken = |owners_tools, owners_global| {
        let limiter = Limiter::new(Rates { tools: Some(rate(3)), global: Some(rate(4)), owners_tools, owners_global });
        let principal = limiter.allowance();
        let of_owner = (0..5).filter(|_| limiter.admit(&principal, What::ToolCall, || Author::Owner).is_ok()).count();
        (of_owner, (0..5).filter(|_| limiter.admit(&principal, What::ToolCall, app).is_ok()).count())
    };
    assert_eq!(taken(false, false), (5, 3));
    assert_eq!(taken(true, false), (3, 0));
    assert_eq!(taken(false, true), (4, 0));
}

#[test]
fn without_limits_nothing_is_counted() {
    let limiter = Limiter::new(Rates::default());
    let principal = limiter.allowance();
    assert!(matches!(principal, Allowance::Unlimited));
    let author = || unreachable!("nobody needs to know");
    assert!((0..10_000).all(|_| limiter.admit(&principal, What::ToolCall, author).is_ok()));
}

#[test]
fn the_seconds_to_wait_are_whole_and_enough() {
    for (millis, expect) in [(0, 1), (1, 1), (1000, 1), (1001, 2), (59_999, 60)] {
        assert_eq!(seconds(Duration::from_millis(millis)), expect);
    }
}
