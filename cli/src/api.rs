//! The management API, as the environment and the options of a command say.

use std::env;
use std::path::PathBuf;

use clap::Args;
use ptolemy_webhooks_client::{Builder, Client, ConfigError};

use crate::secret_mode;
use crate::stop::Stop;

const TOKEN_FILE_VARIABLE: &str = "PTOLEMY_API_TOKEN_FILE";

/// Where and as whom the API is called.
#[derive(Args, Debug)]
pub(crate) struct Api {
    /// The id or the slug of the workspace. Without this option it is read from PTOLEMY_WORKSPACE.
    /// The token is read from PTOLEMY_API_TOKEN or from the file named by PTOLEMY_API_TOKEN_FILE
    #[arg(long, global = true, value_name = "WORKSPACE")]
    workspace: Option<String>,
}

impl Api {
    pub(crate) fn client(&self) -> Result<Client, Stop> {
        if let Some(path) = token_file() {
            secret_mode::warn_before_reading(&path);
        }
        Ok(self.builder()?.build()?)
    }

    pub(crate) fn builder(&self) -> Result<Builder, ConfigError> {
        match &self.workspace {
            Some(workspace) => Builder::from_env_with_workspace(workspace),
            None => Builder::from_env(),
        }
    }
}

/// The file of the token, if the environment names one.
pub(crate) fn token_file() -> Option<PathBuf> {
    let path = env::var_os(TOKEN_FILE_VARIABLE).filter(|path| !path.is_empty());
    path.map(PathBuf::from)
}
