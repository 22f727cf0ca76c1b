//! Where deliveries may go.

use std::net::IpAddr;

use http::Uri;
use http::uri::Scheme;

/// The hosts that deliveries are sent to.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Hosts {
    /// `localhost` and loopback addresses.
    Loopback,
    Any,
}

impl Hosts {
    /// Returns whether deliveries may be sent to a URL. The sandbox never connects to a URL that is
    /// not plain HTTP, so the connection reports that.
    pub(crate) fn allow(self, url: &Uri) -> bool {
        let host = url.host().unwrap_or_default();
        // `Uri` keeps the brackets of an IPv6 address.
        let address = host.trim_start_matches('[').trim_end_matches(']');
        let is_loopback = match address.parse::<IpAddr>() {
            Ok(address) => address.to_canonical().is_loopback(),
            // Other names are not resolved: that would use the network.
            Err(_) => host.eq_ignore_ascii_case("localhost"),
        };
        is_loopback || self == Self::Any || url.scheme() != Some(&Scheme::HTTP)
    }
}
