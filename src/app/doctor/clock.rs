//! This machine's clock against the App's. Tokens and certificates are judged by it.

use std::time::{Duration, SystemTime};

use super::report::{Check, Group};

/// Beyond, something is wrong.
const NOTICED: Duration = Duration::from_secs(60);
/// Beyond, tokens are refused: five minutes is what most services bear.
const BORNE: Duration = Duration::from_secs(5 * 60);

const HINT: &str = "let this machine set its clock by the network (NTP); if it is right, the App's is wrong";

/// `app` is the App's time, which it shows in seconds, and `own` this machine's at the same moment.
pub(super) fn check(app: SystemTime, own: SystemTime) -> Check {
    let (distance, how) = match own.duration_since(app) {
        Ok(ahead) => (ahead, "ahead of"),
        Err(behind) => (behind.duration(), "behind"),
    };
    let sentence = format!("it is {} s {how} that of the App", distance.as_secs());
    if distance > BORNE {
        Check::fail(Group::Clock, "difference", sentence).hint(HINT)
    } else if distance > NOTICED {
        Check::warn(Group::Clock, "difference", sentence).hint(HINT)
    } else {
        Check::ok(Group::Clock, "difference", sentence)
    }
}

#[cfg(test)]
mod tests {
    use super::{super::report::Status, *};

    #[test]
    fn a_minute_is_noticed_and_five_are_too_much() {
        let own = SystemTime::UNIX_EPOCH + Duration::from_secs(1_000_000);
        for (ahead, status, how) in [
            (0, Status::Ok, "0 s ahead of"),
            (60, Status::Ok, "60 s ahead of"),
            (-60, Status::Ok, "60 s behind"),
            (61, Status::Warn, "61 s ahead of"),
            (-300, Status::Warn, "300 s behind"),
            (301, Status::Fail, "301 s ahead of"),
            (-90_000, Status::Fail, "90000 s behind"),
        ] {
            let seconds = Duration::from_secs(i64::unsigned_abs(ahead));
            let app = if ahead < 0 { own + seconds } else { own - seconds };
            let check = check(app, own);
            let (found, message, hint) = check.summary();
            assert!(found == status && message.contains(how) && hint.is_some() == (status != Status::Ok), "{ahead}: {check:?}");
        }
    }
}
