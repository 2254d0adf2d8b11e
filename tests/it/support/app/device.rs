//! Signing in from a terminal: a code for the person, a key for the program, and the key only once.

use super::Call;
use super::reply::{failure, good, refusal};
use axum::response::Response;
use serde_json::json;

/// What the person in front of the browser has done.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub(crate) enum Approval {
    #[default]
    Pending,
    Approved,
    Denied,
    Expired,
}

#[derive(Debug, Default)]
pub(super) struct Device {
    pub(super) approval: Approval,
    begun: bool,
    delivered: bool,
    /// Members that take the place of those of the codes.
    pub(super) codes: serde_json::Map<String, serde_json::Value>,
}

pub(crate) const DEVICE_CODE: &str = "0123456789abcdefghijklmnopqrstuvwxyzABCDEFGHIJKL";
/// What the program gets in the end.
pub(crate) const DEVICE_KEY: &str = "pg_in_9ZxWvUtSrQpOnMlKjIhGfEdCbA0123456789zYxWvUtSrQpOnMlKjIhGfEdCbAqW";
pub(crate) const USER_CODE: &str = "ABCD-2345";

pub(super) fn route(device: &mut Device, call: &Call) -> Option<Response> {
    Some(match call.steps()[..] {
        ["POST", "cli", "auth", "initiate"] => {
            (device.begun, device.delivered) = (true, false);
            let host = call.header("host").unwrap_or_default();
            let mut codes = json!({
                "device_code": DEVICE_CODE,
                "user_code": USER_CODE,
                "verification_url": format!("http://{host}/cli/authorize?code={USER_CODE}"),
                "expires_in": 300,
                "interval": 5,
            });
            codes.as_object_mut().expect("it is one").extend(device.codes.clone());
            good(codes)
        }
        ["GET", "cli", "auth", "poll"] => poll(device, call.parameter("device_code").unwrap_or_default()),
        _ => return None,
    })
}

fn poll(device: &mut Device, code: &str) -> Response {
    if code.len() != 48 || !code.bytes().all(|byte| byte.is_ascii_alphanumeric()) {
        return failure(400, "Invalid device code");
    }
    if code != DEVICE_CODE || !device.begun {
        return failure(404, "Device code not found");
    }
    match device.approval {
        Approval::Pending => good(json!({"status": "authorization_pending"})),
        Approval::Approved if std::mem::replace(&mut device.delivered, true) => good(json!({"status": "approved"})),
        Approval::Approved => good(json!({"status": "approved", "api_key": DEVICE_KEY})),
        Approval::Denied => refusal(403, json!({"status": "denied"})),
        Approval::Expired => refusal(410, json!({"status": "expired"})),
    }
}
