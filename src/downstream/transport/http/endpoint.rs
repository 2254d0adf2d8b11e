//! A URL, the way there, and the headers that are configured for it.

use std::sync::Arc;

use arc_swap::ArcSwap;
use bytes::Bytes;
use reqwest::{
    Method, Response,
    header::{ACCEPT, CONTENT_TYPE, HeaderMap, HeaderValue},
};

use super::{EVENT_STREAM, JSON};
use crate::{
    downstream::error::LinkError,
    security::{
        Refusal,
        egress::{self, AllowedUrl},
        headers::AllowedHeaders,
    },
};

/// A URL with the way there and the headers configured for it.
#[derive(Debug, Clone)]
pub struct Endpoint {
    egress: Arc<egress::Policy>,
    url: AllowedUrl,
    headers: Arc<ArcSwap<AllowedHeaders>>,
}

impl Endpoint {
    pub fn new(egress: Arc<egress::Policy>, url: AllowedUrl, headers: Arc<ArcSwap<AllowedHeaders>>) -> Self {
        Self { egress, url, headers }
    }

    /// The configured ones, and ours.
    fn headers(&self, ours: HeaderMap) -> HeaderMap {
        let configured = self.headers.load();
        if configured.as_map().is_empty() {
            return ours;
        }
        let mut headers = configured.as_map().clone();
        headers.extend(ours);
        headers
    }

    /// The same server at another URL that it has named, on its own origin.
    ///
    /// # Errors
    /// [`Refusal`] where that is elsewhere.
    pub fn at(&self, reference: &str) -> Result<Self, Refusal> {
        Ok(Self { url: self.egress.same_origin(&self.url, reference)?, ..self.clone() })
    }

    pub async fn post(&self, body: Bytes, extra: impl Fn() -> HeaderMap) -> Result<Response, LinkError> {
        let headers = || {
            let mut headers = self.headers(extra());
            headers.insert(CONTENT_TYPE, JSON);
            headers.insert(ACCEPT, HeaderValue::from_static("application/json, text/event-stream"));
            headers
        };
        Ok(self.egress.send(Method::POST, &self.url, headers, body).await?)
    }

    pub async fn get_stream(&self, extra: impl Fn() -> HeaderMap) -> Result<Response, LinkError> {
        let headers = || {
            let mut headers = self.headers(extra());
            headers.insert(ACCEPT, HeaderValue::from_static(EVENT_STREAM));
            headers
        };
        Ok(self.egress.send(Method::GET, &self.url, headers, Bytes::new()).await?)
    }

    pub(super) async fn delete(&self, extra: impl Fn() -> HeaderMap) -> Result<Response, LinkError> {
        Ok(self.egress.send(Method::DELETE, &self.url, || self.headers(extra()), Bytes::new()).await?)
    }
}
