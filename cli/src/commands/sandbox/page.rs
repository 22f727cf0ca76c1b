//! The page of a sandbox, on its own port.

use std::sync::Arc;
use std::time::Duration;

use ptolemy_webhooks_sandbox::Sandbox;
use reqwest::Url;
use zeroize::Zeroizing;

use crate::inspect::app::{App, InboxState};
use crate::inspect::checker::Checker;
use crate::inspect::guard::{Hosts, Token};
use crate::inspect::log::Log;
use crate::inspect::stand_in;
use crate::inspect::target::Target;
use crate::stop::Stop;

/// How long a receiver may take to answer a request that is sent again: as long as Ptolemy waits.
const TIMEOUT: Duration = Duration::from_secs(10);

/// A page that is served.
pub(super) struct Page {
    /// With the token.
    pub(super) url: Zeroizing<String>,
    /// Without it.
    pub(super) shown: String,
}

impl Page {
    /// Serves the page. Requests are sent again to this receiver, if there is one.
    pub(super) fn open(sandbox: &Arc<Sandbox>, forward: Option<Url>) -> Result<Self, Stop> {
        let address = Url::parse(sandbox.url())
            .ok()
            .and_then(|url| url.socket_addrs(|| None).ok()?.into_iter().next())
            .ok_or_else(|| Stop::failed("the sandbox has no address"))?;
        let token = Token::random()?;
        let page = Self {
            url: token.url(address),
            shown: format!("http://{address}/"),
        };
        let target = forward.map(|url| Target::new(url, TIMEOUT)).transpose()?;
        let app = Arc::new(App::new(
            token,
            Hosts::of(address),
            Checker::without_secret(),
            target,
            InboxState::None,
            Log::none(),
        ));
        stand_in::connect(sandbox, &app);
        Ok(page)
    }
}
