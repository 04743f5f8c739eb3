//! web-rwkv's published operations, each in a process of its own: what it requires of serde excludes
//! burn, so the two cannot be linked together. The process times itself; requests only wait for it.

use std::io::{BufRead, BufReader, Write};
use std::process::{Child, ChildStdin, ChildStdout, Command, Stdio};
use std::time::Duration;

use crate::measure::{Contender, Failure};
use crate::operands::{Operands, Shape};

const MANIFEST: &str = concat!(env!("CARGO_MANIFEST_DIR"), "/web_rwkv/Cargo.toml");

/// Which of its two paths.
#[derive(Debug, Clone, Copy)]
pub enum Op {
    /// Matrix times vectors, as in decoding: f32 input.
    Vec,
    /// Matrix times matrix, as for many tokens: f16 input.
    Mat,
}

/// Storage of the weight.
#[derive(Debug, Clone, Copy)]
pub enum Format {
    Fp16,
    Int8,
    Nf4,
}

/// Compiles the other program, so that no contender waits for it.
pub fn build() -> Result<(), Failure> {
    let status = cargo("build").status()?;
    if status.success() {
        Ok(())
    } else {
        Err(format!("{MANIFEST} does not build: {status}").into())
    }
}

fn cargo(command: &str) -> Command {
    let cargo = std::env::var_os("CARGO").unwrap_or_else(|| "cargo".into());
    let mut process = Command::new(cargo);
    process.args([
        command,
        "--release",
        "--locked",
        "--quiet",
        "--manifest-path",
        MANIFEST,
    ]);
    process
}

/// One of web-rwkv's products.
pub struct WebRwkv {
    process: Child,
    /// Closed, it ends the process.
    requests: Option<ChildStdin>,
    answers: BufReader<ChildStdout>,
}

impl WebRwkv {
    pub fn new(
        adapter: &str,
        op: Op,
        format: Format,
        operands: &Operands,
    ) -> Result<Self, Failure> {
        let Shape { m, n, k } = operands.shape;
        let op = match op {
            Op::Vec => "vec",
            Op::Mat => "mat",
        };
        let format = match format {
            Format::Fp16 => "fp16",
            Format::Int8 => "int8",
            Format::Nf4 => "nf4",
        };
        let mut process = cargo("run")
            .args(["--", adapter, op, format])
            .args([m, n, k].map(|extent| extent.to_string()))
            .stdin(Stdio::piped())
            .stdout(Stdio::piped())
            .spawn()?;
        let requests = process.stdin.take();
        let answers = BufReader::new(process.stdout.take().ok_or("no pipe from the process")?);
        let mut one = Self {
            process,
            requests,
            answers,
        };
        one.answer("ready")?;
        Ok(one)
    }

    fn request(&mut self, line: &str) -> Result<(), Failure> {
        let requests = self.requests.as_mut().ok_or("no pipe to the process")?;
        Ok(writeln!(requests, "{line}")?)
    }

    /// What follows the word that the next answer must begin with.
    fn answer(&mut self, word: &str) -> Result<String, Failure> {
        let mut line = String::new();
        self.answers.read_line(&mut line)?;
        match line.trim_end().split_once(' ') {
            Some((first, rest)) if first == word => Ok(rest.to_owned()),
            _ => Err(format!("the process said `{}`, not `{word} ..`", line.trim_end()).into()),
        }
    }
}

impl Contender for WebRwkv {
    fn run(&mut self, times: usize) -> Result<Duration, Failure> {
        self.request(&format!("run {times}"))?;
        Ok(Duration::from_nanos(self.answer("nanoseconds")?.parse()?))
    }

    fn last_row(&mut self) -> Result<Vec<f32>, Failure> {
        self.request("last_row")?;
        let values = self.answer("values")?;
        Ok(values
            .split(' ')
            .map(str::parse)
            .collect::<Result<_, _>>()?)
    }
}

impl Drop for WebRwkv {
    fn drop(&mut self) {
        self.requests = None;
        if let Err(error) = self.process.wait() {
            eprintln!("web-rwkv: {error}");
        }
    }
}
