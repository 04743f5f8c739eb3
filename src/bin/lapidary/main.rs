//! The `lapidary` command: one file per subcommand.
//!
//! Results go to stdout, progress and prose to stderr. Exit codes: 0 ok, 1 mismatch or target missed,
//! 2 usage or bad input, 3 device.

mod bench;
mod completions;
mod config;
mod convert;
mod convert_folder;
mod demo;
mod devices;
mod distill;
mod embed;
mod eval;
mod generate;
mod inspect;
mod made;
mod models;
mod optimize;
mod options;
mod outcomes;
mod output;
mod predict;
mod profile;
mod prune;
mod quantize;
mod recipe;
mod shaders;
mod stores;
mod sweep;
mod target;
mod train;
mod trained;
mod tune;
mod tune_hyper;
mod verify;
mod verify_model;
mod workload;

use std::process::ExitCode;

use clap::{CommandFactory as _, FromArgMatches as _, Parser, Subcommand};

use options::CommonOptions;

/// Cut and polish neural networks on any GPU, with every kernel proven against its CPU reference.
#[derive(Debug, Parser)]
#[command(version, propagate_version = true)]
struct Cli {
    #[command(flatten)]
    common: CommonOptions,
    #[command(subcommand)]
    command: Command,
}

#[derive(Debug, Subcommand)]
enum Command {
    /// See everything at once: trains a network, makes it smaller in several ways, measures and verifies each.
    Demo(demo::DemoOptions),
    /// Make a model smaller by a recipe, or as far as limits on accuracy, size and time allow.
    Optimize(optimize::OptimizeOptions),
    /// Judge models side by side: size, accuracy, times on a device, and whether it computes them right. `bench-text
    /// --help` has the flags for language models.
    Bench(bench::BenchOptions),
    /// List every adapter with its driver, limits and features, and what Lapidary will use.
    Devices,
    /// Prove every kernel and variant, or a model, against the CPU reference on an adapter.
    Verify(verify::VerifyOptions),
    /// Time the variants of a kernel on an adapter, against each other and against its rooflines.
    Profile(profile::ProfileOptions),
    /// Measure which variant of a kernel wins on an adapter, and keep the choice.
    Tune(tune::TuneOptions),
    /// Train a classifier, on a folder of data or the images built in.
    Train(Box<train::TrainCommand>),
    /// Search settings of training: grid, random, or Parzen estimators.
    TuneHyper(tune_hyper::TuneHyperOptions),
    /// Judge a trained network on a test set, or a language model by its perplexity.
    Eval(eval::EvalOptions),
    /// Teach a small network by what a trained one says of the training set.
    Distill(distill::DistillCommand),
    /// Drop weights, neurons or filters of a model.
    Prune(prune::PruneCommand),
    /// Store a network's weights in fewer bits.
    Quantize(Box<quantize::QuantizeCommand>),
    /// Text from a language model, streamed; `run MODEL` does the same.
    Generate(generate::RunOptions),
    /// How fast a language model reads and writes on an adapter; `bench MODEL` does the same.
    BenchText(generate::BenchOptions),
    /// Make a vector of each line of a text, with a BERT encoder from a folder of Hugging Face's.
    Embed(embed::EmbedOptions),
    /// Show what a model file holds: tensors, types, shapes, bytes.
    Inspect(inspect::InspectOptions),
    /// Write the same network into another kind of file.
    Convert(convert::ConvertOptions),
    /// Give every sample of a file its class, or go on with a text: `generate --help` has the flags for language models.
    Run(predict::RunOptions),
    /// Write every linked shader variant as WGSL, SPIR-V, MSL and HLSL; needs no GPU.
    Shaders(shaders::ShadersOptions),
    /// Print a shell's completions of commands, flags and values.
    Completions(completions::CompletionsOptions),
}

fn main() -> ExitCode {
    // RUST_LOG chooses what the libraries below may say; by default only errors.
    env_logger::Builder::from_env(env_logger::Env::default().default_filter_or("error")).init();
    match config::expand(for_language_models(std::env::args_os().collect())) {
        Ok(arguments) => end(run(arguments)),
        Err(failure) => end(Err(failure)),
    }
}

/// `run` and `bench` of a language model are commands with flags of their own.
fn for_language_models(mut arguments: Vec<std::ffi::OsString>) -> Vec<std::ffi::OsString> {
    let names = [("run", "generate"), ("bench", "bench-text")];
    let known = |word: &std::ffi::OsString| names.iter().find(|(name, _)| word == name);
    // Behind another command they are names of files.
    let command = command();
    let is_command = |word: &std::ffi::OsString| {
        let mut names = command.get_subcommands().map(clap::Command::get_name);
        names.any(|name| word == name)
    };
    let found = arguments.iter().skip(1).position(is_command);
    let Some(at) = found.map(|at| at + 1) else {
        return arguments;
    };
    if known(&arguments[at]).is_none() {
        return arguments;
    }
    // A model that is none is told so by the command that wants one.
    let is_language_model = |word: &std::ffi::OsString| {
        generate::is_language_model(word.as_ref())
            || ["-p", "--prompt", "--prompt-file"]
                .iter()
                .any(|flag| word == flag)
    };
    if arguments[at + 1..].iter().any(is_language_model)
        && let Some((_, name)) = known(&arguments[at])
    {
        arguments[at] = (*name).into();
    }
    arguments
}

/// The command with all its flags.
fn command() -> clap::Command {
    Cli::command()
}

fn run(arguments: Vec<std::ffi::OsString>) -> Result<(), options::Failure> {
    dispatch(&command().get_matches_from(arguments))
}

/// What the words of a command line after `lapidary` ask for, as a step of another command.
fn run_words(words: &[String]) -> Result<(), options::Failure> {
    let line = ["lapidary"]
        .into_iter()
        .chain(words.iter().map(String::as_str));
    match command().try_get_matches_from(line) {
        Ok(matches) => dispatch(&matches),
        Err(error) => Err(options::Failure::Usage(error.to_string())),
    }
}

fn dispatch(matches: &clap::ArgMatches) -> Result<(), options::Failure> {
    let mut cli = Cli::from_arg_matches(matches).unwrap_or_else(|error| error.exit());
    if let Some((name, matches)) = matches.subcommand() {
        let settings = || config::Settings::of(name, matches);
        match &mut cli.command {
            Command::Train(options) => options.settings = settings(),
            Command::Prune(options) => options.settings = settings(),
            Command::Quantize(options) => options.settings = settings(),
            Command::Distill(options) => options.settings = settings(),
            _ => {}
        }
    }
    // A bad --shaders folder is an error in every command, also in those that use no shader.
    cli.common.sources().and_then(|_| match &cli.command {
        Command::Demo(options) => demo::run(&cli.common, options),
        Command::Optimize(options) => optimize::run(&cli.common, options),
        Command::Bench(options) => bench::run(&cli.common, options),
        Command::Devices => devices::run(&cli.common),
        Command::Verify(options) => verify::run(&cli.common, options),
        Command::Profile(options) => profile::run(&cli.common, options),
        Command::Tune(options) => tune::run(&cli.common, options),
        Command::Train(options) => train::run(&cli.common, options),
        Command::TuneHyper(options) => tune_hyper::run(&cli.common, options),
        Command::Eval(options) => eval::run(&cli.common, options),
        Command::Distill(options) => distill::run(&cli.common, options),
        Command::Prune(options) => prune::run(&cli.common, options),
        Command::Quantize(options) => quantize::run(&cli.common, options),
        Command::Generate(options) => generate::run(&cli.common, options),
        Command::BenchText(options) => generate::bench(&cli.common, options),
        Command::Embed(options) => embed::run(&cli.common, options),
        Command::Inspect(options) => inspect::run(&cli.common, options),
        Command::Convert(options) => convert::run(&cli.common, options),
        Command::Run(options) => predict::run(&cli.common, options),
        Command::Shaders(options) => shaders::run(&cli.common, options),
        Command::Completions(options) => completions::run(options),
    })
}

fn end(outcome: Result<(), options::Failure>) -> ExitCode {
    match outcome {
        Ok(()) => ExitCode::SUCCESS,
        Err(failure) => {
            eprintln!("lapidary: {failure}");
            ExitCode::from(failure.exit_code())
        }
    }
}
