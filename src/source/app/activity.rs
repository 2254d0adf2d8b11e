//! `POST /api/notifications/mcp-activity`: what the App is told of one finished call. What is told of which call is
//! `router::activity`'s to say.

use std::time::Duration;

use reqwest::Method;
use serde::Serialize;

use super::{AppClient, AppError, Request};

/// The App only writes a row. Longer means that it is in trouble, and others wait in line.
const TIMEOUT: Duration = Duration::from_secs(5);

/// As it goes over the wire.
#[derive(Debug, PartialEq, Eq, Serialize)]
#[serde(rename_all = "camelCase")]
pub struct Activity {
    pub action: Action,
    pub server_name: String,
    #[serde(flatten)]
    pub server: ServerRef,
    pub item_name: String,
    pub success: bool,
    /// Shown to the user in an alert.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub error_message: Option<String>,
    /// In milliseconds.
    pub execution_time: u64,
}

#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize)]
#[serde(rename_all = "snake_case")]
pub enum Action {
    ToolCall,
    PromptGet,
    ResourceRead,
}

/// How the App finds the server. It loses an activity whose `serverUuid` it cannot place, and says that all is well.
#[derive(Debug, Clone, PartialEq, Eq, Serialize)]
pub enum ServerRef {
    /// A UUID, or one of the App's own words for the built-in areas.
    #[serde(rename = "serverUuid")]
    Known(String),
    #[serde(rename = "externalId")]
    External(String),
}

impl AppClient {
    /// Reports a finished call. It does not wait for the request limit of the lists: the App counts by path.
    ///
    /// # Errors
    /// [`AppError`]
    pub async fn report(&self, activity: &Activity) -> Result<(), AppError> {
        let request = Request {
            method: Method::POST,
            body: Some(serde_json::to_value(activity).expect("texts and numbers are always JSON")),
            timeout: TIMEOUT,
            ..Request::get(&["api", "notifications", "mcp-activity"])
        };
        self.request_within(None, request).await.map(drop)
    }
}

#[cfg(test)]
mod tests {
    use std::{net::TcpListener, sync::Arc};

    use tokio::time::Instant;

    use super::{super::Config, *};

    #[tokio::test(start_paused = true)]
    async fn an_app_that_never_answers_is_given_up() {
        let silent = TcpListener::bind("127.0.0.1:0").expect("there is a port");
        let base_url = format!("http://{}", silent.local_addr().expect("it has one")).parse().expect("it is one");
        let app = AppClient::new(Config { base_url, key: "k".to_owned().into(), rate: None, origin: None, egress: Arc::default() });
        let activity = Activity {
            action: Action::PromptGet,
            server_name: "S".to_owned(),
            server: ServerRef::External("s".to_owned()),
            item_name: "i".to_owned(),
            success: true,
            error_message: None,
            execution_time: 0,
        };
        let start = Instant::now();
        assert!(app.report(&activity).await.is_err_and(|error| matches!(error, AppError::Network { .. })));
        assert_eq!(start.elapsed().as_secs(), 5);
    }

    #[test]
    fn it_looks_as_the_app_expects() {
        let activity = Activity {
            action: Action::ToolCall,
            server_name: "GitHub".to_owned(),
            server: ServerRef::Known("6f1c2f0e-3c1b-4a52-9a51-0d0c1d1f9a01".to_owned()),
            item_name: "create_issue".to_owned(),
            success: true,
            error_message: None,
            execution_time: 412,
        };
        let check = |activity: &Activity, expect: &str| assert_eq!(serde_json::to_string(activity).expect("JSON"), expect);
        check(
            &activity,
            r#"{"action":"tool_call","serverName":"GitHub","serverUuid":"6f1c2f0e-3c1b-4a52-9a51-0d0c1d1f9a01","itemName":"create_issue","success":true,"executionTime":412}"#,
        );
        let failed = Activity {
            action: Action::ResourceRead,
            server: ServerRef::External("pluggedin_memory".to_owned()),
            success: false,
            error_message: Some("no".to_owned()),
            ..activity
        };
        check(
            &failed,
            r#"{"action":"resource_read","serverName":"GitHub","externalId":"pluggedin_memory","itemName":"create_issue","success":false,"errorMessage":"no","executionTime":412}"#,
        );
    }
}
