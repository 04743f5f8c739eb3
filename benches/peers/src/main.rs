//! The same products in Lapidary and in other libraries, in one run on one adapter.
//!
//! The table goes to stdout, progress to stderr. Exit codes: 0 ok, 2 usage or bad input, 3 device. A
//! peer that cannot make a product is a row that says so.

mod burn;
mod candle;
mod cases;
mod measure;
mod operands;
mod ours;
mod report;
mod session;
mod training;
mod transpose;
mod web_rwkv;

use std::fs::File;
use std::io::Write;
use std::path::{Path, PathBuf};
use std::process::ExitCode;

use clap::Parser;

use cases::{Case, cases};
use measure::{Failure, compare};
use operands::{Operands, Shape};
use report::{Report, rows};
use session::Session;

/// Times the same products in Lapidary and in other libraries.
#[derive(Debug, Parser)]
struct Options {
    /// Adapter, by part of its name or its driver's.
    #[arg(long, value_name = "NAME", default_value = "llvmpipe")]
    device: String,
    /// Only contenders whose line (`matmul f32 512x512x512 burn f32, b [k, n]`) contains this.
    #[arg(long, value_name = "SUBSTRING", default_value = "")]
    only: String,
    /// Rounds after the warm-up; each runs every contender of a case once.
    #[arg(long, value_name = "N", default_value_t = 9, value_parser = clap::value_parser!(u16).range(1..))]
    rounds: u16,
    /// Also write the results here as JSON.
    #[arg(long, value_name = "FILE")]
    json: Option<PathBuf>,
    /// Print the table as Markdown.
    #[arg(long)]
    markdown: bool,
    /// Time a step of training instead, in Lapidary and in burn.
    #[arg(long, conflicts_with_all = ["only", "json"])]
    training: bool,
}

fn main() -> ExitCode {
    let options = Options::parse();
    let selected = select(cases(), &options.only);
    if selected.is_empty() {
        return refuse(
            2,
            &format!("--only {}: no contender's line contains it", options.only),
        );
    }
    // Before the measurements, which take minutes.
    let json = match options.json.as_deref().map(create).transpose() {
        Ok(json) => json,
        Err(error) => return refuse(2, &error.to_string()),
    };
    let session = match Session::open(&options.device) {
        Ok(session) => session,
        Err(error) => return refuse(3, &error.to_string()),
    };
    if options.training {
        let table = training::training(session.engine(), options.rounds.into(), options.markdown);
        return match table {
            Ok(table) => {
                println!("{table}");
                ExitCode::SUCCESS
            }
            Err(error) => refuse(3, &error.to_string()),
        };
    }
    let report = measure_all(&session, &selected, usize::from(options.rounds));
    match publish(&report, options.markdown, json) {
        Ok(()) => ExitCode::SUCCESS,
        Err(error) => refuse(2, &error.to_string()),
    }
}

fn refuse(code: u8, message: &str) -> ExitCode {
    eprintln!("peers: {message}");
    ExitCode::from(code)
}

/// The cases with the contenders whose line contains `part`.
fn select(cases: Vec<Case>, part: &str) -> Vec<Case> {
    let mut cases = cases;
    for case in &mut cases {
        let Shape { m, n, k } = case.shape;
        let product = format!("{} {m}x{n}x{k}", case.name);
        case.contenders.retain(|spec| {
            let line = format!("{product} {} {}", spec.method.package(), spec.label);
            line.contains(part)
        });
    }
    cases.retain(|case| !case.contenders.is_empty());
    cases
}

fn create(path: &Path) -> Result<File, Failure> {
    File::create(path).map_err(|error| format!("--json {}: {error}", path.display()).into())
}

fn measure_all(session: &Session, selected: &[Case], rounds: usize) -> Report {
    let mut all = Vec::new();
    for (index, case) in selected.iter().enumerate() {
        let Shape { m, n, k } = case.shape;
        eprintln!(
            "[{}/{}] {} {m}x{n}x{k}",
            index + 1,
            selected.len(),
            case.name
        );
        let operands = Operands::new(case.shape);
        let contenders = case
            .contenders
            .iter()
            .map(|spec| session.contender(spec, &operands))
            .collect();
        all.extend(rows(case, &compare(contenders, &operands, rounds)));
    }
    Report {
        adapter: session.adapter().line(),
        versions: versions(),
        rounds,
        rows: all,
    }
}

/// Versions as the lock files have them.
fn versions() -> Vec<(&'static str, String)> {
    let here = include_str!("../Cargo.lock");
    let web_rwkv = include_str!("../web_rwkv/Cargo.lock");
    [
        ("lapidary", here),
        ("burn", here),
        ("cubecl-wgpu", here),
        ("candle-core", here),
        ("web-rwkv", web_rwkv),
    ]
    .map(|(package, lock)| (package, locked_version(lock, package)))
    .to_vec()
}

fn locked_version(lock: &str, package: &str) -> String {
    let name = format!("name = \"{package}\"");
    lock.lines()
        .skip_while(|line| *line != name)
        .nth(1)
        .and_then(|line| line.strip_prefix("version = "))
        .unwrap_or("?")
        .trim_matches('"')
        .to_owned()
}

fn publish(report: &Report, markdown: bool, json: Option<File>) -> Result<(), Failure> {
    let mut stdout = std::io::stdout().lock();
    writeln!(stdout, "{}", report.table(markdown))?;
    for failure in report.rows.iter().filter_map(report::Row::failure) {
        eprintln!("peers: {failure}");
    }
    if let Some(mut file) = json {
        serde_json::to_writer_pretty(&mut file, report)?;
        writeln!(file)?;
    }
    Ok(())
}
