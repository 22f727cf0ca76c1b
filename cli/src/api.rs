//! The management API, as the environment and the options of a command say.

use clap::Args;
use ptolemy_webhooks_client::{Builder, Client};

use crate::secret_mode;
use crate::stop::Stop;

/// Where and as whom the API is called.
#[derive(Args, Debug)]
pub(crate) struct Api {
    /// The id or the slug of the workspace. Without this option it is read from PTOLEMY_WORKSPACE. The
    /// token is read from PTOLEMY_API_TOKEN or from the file named by PTOLEMY_API_TOKEN_FILE
    #[arg(long, global = true, value_name = "WORKSPACE")]
    workspace: Option<String>,
}

impl Api {
    pub(crate) fn client(&self) -> Result<Client, Stop> {
        secret_mode::warn_before_reading_variable("PTOLEMY_API_TOKEN_FILE");
        let builder = match &self.workspace {
            Some(workspace) => Builder::from_env_with_workspace(workspace)?,
            None => Builder::from_env()?,
        };
        Ok(builder.build()?)
    }
}
