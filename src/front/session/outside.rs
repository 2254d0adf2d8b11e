//! The client of a session over HTTP while no call of its runs: it is told and asked on its standalone stream.

use std::sync::Arc;

use futures_util::{FutureExt, future::BoxFuture};

use super::{Inner, Outlet};
use crate::{
    protocol::message::{Frame, Message},
    router::{AskError, ClientPeer, Report, SessionPeer},
};

impl ClientPeer for Inner {
    fn can_be_asked(&self) -> bool {
        matches!(&self.outlet, Outlet::Stream(stream) if stream.is_read())
    }

    fn notify(&self, frame: Frame) -> BoxFuture<'_, ()> {
        self.announce(frame);
        futures_util::future::ready(()).boxed()
    }

    fn ask(&self, request: &Message, report: Option<Arc<dyn Report>>) -> BoxFuture<'_, Result<Message, AskError>> {
        let refused = |error| futures_util::future::ready(Err(error)).boxed();
        match &self.outlet {
            Outlet::Stream(stream) if self.can_be_asked() => {
                let request = request.clone();
                let send = async |frame| {
                    stream.announce(frame);
                    true
                };
                async move { self.asked.ask(&request, report, send, |frame| stream.announce(frame)).await }.boxed()
            }
            Outlet::Stream(_) => refused(AskError::NotListening),
            Outlet::Announced(_) | Outlet::Nowhere => refused(AskError::Unsupported),
        }
    }
}
