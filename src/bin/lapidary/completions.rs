//! `lapidary completions SHELL`: what makes a shell complete commands, flags and their values.

use clap::Args;
use clap_complete::{Shell, generate};

use crate::options::Failure;
use crate::output::print;
use crate::train::usage;

#[derive(Debug, Args)]
#[command(after_help = "Examples:\n  \
    lapidary completions bash > ~/.local/share/bash-completion/completions/lapidary\n  \
    lapidary completions zsh > ~/.zfunc/_lapidary\n  \
    lapidary completions fish > ~/.config/fish/completions/lapidary.fish")]
pub struct CompletionsOptions {
    /// Whose file is printed.
    #[arg(value_enum, value_name = "SHELL")]
    shell: Shell,
}

pub fn run(options: &CompletionsOptions) -> Result<(), Failure> {
    let mut command = crate::command();
    let name = command.get_name().to_owned();
    let mut text = Vec::new();
    generate(options.shell, &mut command, name, &mut text);
    print(&String::from_utf8(text).map_err(usage)?)
}
