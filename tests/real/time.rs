//! `mcp-server-time`, on the Python SDK: not one line in common with the other servers.

use anyhow::{Context, Result};
use serde_json::json;

use super::support::{published::Python, server, session::Session};

#[tokio::test]
async fn noon_in_utc_is_evening_in_tokyo() -> Result<()> {
    let Some(python) = Python::installed() else {
        return Ok(());
    };
    let session = Session::proxied(json!({"time": server::time(python)})).await?;

    let noon = json!({"source_timezone": "UTC", "time": "12:00", "target_timezone": "Asia/Tokyo"});
    let converted = session.call("time__convert_time", noon).await?.structured_content.context("structured content")?;
    assert_eq!(converted["time_difference"], "+9.0h");
    assert!(converted["target"]["datetime"].as_str().is_some_and(|time| time.ends_with("T21:00:00+09:00")), "{converted}");

    let nowhere = session.call("time__get_current_time", json!({"timezone": "Nowhere/Else"})).await?;
    assert_eq!(nowhere.is_error, Some(true), "{nowhere:?}");
    session.close().await
}
