//! The management API, as the environment and the options of a command say.

use clap::Args;
use ptolemy_webhooks_client::{Builder, Client};

use crate::stop::Stop;

/// Where and as whom the API is called.
///
/// The token is read from PTOLEMY_API_TOKEN or from the file named by PTOLEMY_API_TOKEN_FILE.
#[derive(Args, Debug)]
pub(crate) struct Api {}

impl Api {
    pub(crate) fn client(&self) -> Result<Client, Stop> {
        Ok(Builder::from_env()?.build()?)
    }
}
