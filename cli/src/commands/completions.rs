//! `completions`: the completions of command lines for a shell.

use clap::{Args, CommandFactory as _};
use clap_complete::Shell;

use crate::command_line::CommandLine;
use crate::output::Output;
use crate::stop::Stop;

#[derive(Args, Debug)]
#[command(after_help = "\
Examples:
  ptolemy-webhooks completions bash
  ptolemy-webhooks completions zsh")]
pub(crate) struct Completions {
    /// The shell
    shell: Shell,
}

impl Completions {
    pub(crate) fn run(&self, output: &Output) -> Result<(), Stop> {
        let mut script = Vec::new();
        let mut command = CommandLine::command();
        clap_complete::generate(self.shell, &mut command, "ptolemy-webhooks", &mut script);
        output.bytes(&script)
    }
}
