//! `man`: the man pages.

use std::path::PathBuf;

use clap::{Args, CommandFactory as _};
use clap_mangen::Man as Page;

use crate::command_line::CommandLine;
use crate::output::Output;
use crate::stop::Stop;

#[derive(Args, Debug)]
#[command(after_help = "\
Examples:
  ptolemy-webhooks man
  ptolemy-webhooks man --folder .")]
pub(crate) struct Man {
    /// Write one page for each command into this folder instead of printing the page of the tool
    #[arg(long, value_name = "PATH")]
    folder: Option<PathBuf>,
}

impl Man {
    pub(crate) fn run(&self, output: &Output) -> Result<(), Stop> {
        let command = CommandLine::command();
        if let Some(folder) = &self.folder {
            let written = clap_mangen::generate_to(command, folder);
            return written.map_err(|error| Stop::failed(format!("{}: {error}", folder.display())));
        }
        let mut page = Vec::new();
        let rendered = Page::new(command).render(&mut page);
        rendered.map_err(|error| Stop::failed(format!("man page: {error}")))?;
        output.bytes(&page)
    }
}
