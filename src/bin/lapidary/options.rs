//! Options every command takes, and the ways a command can fail.

use std::collections::BTreeMap;
use std::fs;
use std::path::{Path, PathBuf};

use clap::Args;
use lapidary::engine::EngineError;
use lapidary::engine::gpu::{AdapterSummary, DeviceChoice};
use lapidary::io::atomic::check_writable;
use lapidary::shader::Sources;
use thiserror::Error;

#[derive(Debug, Args)]
pub struct CommonOptions {
    /// Print the result as JSON.
    #[arg(long, global = true)]
    pub json: bool,
    /// Read the shader files from this folder instead of the built-in ones (always with the driver's
    /// runtime checks).
    #[arg(long, global = true, value_name = "DIR")]
    pub shaders: Option<PathBuf>,
    /// Use matrix instructions where the adapter has them (experimental in wgpu: a defect in a driver may
    /// crash the process).
    #[arg(long, global = true)]
    pub cooperative_matrix: bool,
}

impl CommonOptions {
    /// The shader files to use.
    pub fn sources(&self) -> Result<Sources, Failure> {
        let Some(folder) = &self.shaders else {
            return Ok(Sources::embedded());
        };
        let mut files = BTreeMap::new();
        read_shaders(folder, folder, &mut files)
            .map_err(|error| Failure::Usage(format!("--shaders {}: {error}", folder.display())))?;
        Sources::replaced_by(files)
            .map_err(|error| Failure::Usage(format!("--shaders {}: {error}", folder.display())))
    }
}

fn read_shaders(
    root: &Path,
    folder: &Path,
    files: &mut BTreeMap<String, String>,
) -> std::io::Result<()> {
    for entry in fs::read_dir(folder)? {
        let path = entry?.path();
        if path.is_dir() {
            read_shaders(root, &path, files)?;
        } else if path
            .extension()
            .is_some_and(|extension| extension == "wgsl")
        {
            let module = path
                .strip_prefix(root)
                .map_err(std::io::Error::other)?
                .with_extension("");
            let module = module.to_string_lossy().replace('\\', "/");
            let text = fs::read_to_string(&path).map_err(|error| {
                std::io::Error::new(error.kind(), format!("{}: {error}", path.display()))
            })?;
            files.insert(module, text);
        }
    }
    Ok(())
}

/// Which device a command should use.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum DeviceOption {
    /// Hardware, else a software adapter, else the CPU engine.
    Auto,
    /// Some adapter must be there.
    Gpu,
    /// The CPU engine.
    Cpu,
    /// One adapter by index or part of its name.
    Named(DeviceChoice),
}

impl DeviceOption {
    /// The adapter meant, for commands that need one; `why` says why the CPU engine will not do.
    pub fn adapter(&self, why: &str) -> Result<DeviceChoice, Failure> {
        match self {
            Self::Auto | Self::Gpu => Ok(DeviceChoice::Auto),
            Self::Named(choice) => Ok(choice.clone()),
            Self::Cpu => Err(Failure::Usage(format!(
                "--device cpu: {why}; name an adapter"
            ))),
        }
    }
}

impl std::str::FromStr for DeviceOption {
    type Err = String;

    fn from_str(text: &str) -> Result<Self, String> {
        Ok(match text {
            "" => {
                return Err(
                    "empty; allowed: auto, gpu, cpu, an index, or part of a name".to_owned(),
                );
            }
            "auto" => Self::Auto,
            "gpu" => Self::Gpu,
            "cpu" => Self::Cpu,
            other => Self::Named(match other.parse() {
                Ok(index) => DeviceChoice::Index(index),
                Err(_) => DeviceChoice::Name(other.to_owned()),
            }),
        })
    }
}

impl std::fmt::Display for DeviceOption {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        match self {
            Self::Auto => f.write_str("auto"),
            Self::Gpu => f.write_str("gpu"),
            Self::Cpu => f.write_str("cpu"),
            Self::Named(DeviceChoice::Index(index)) => write!(f, "{index}"),
            Self::Named(DeviceChoice::Name(name)) => f.write_str(name),
            Self::Named(DeviceChoice::Auto) => f.write_str("auto"),
        }
    }
}

/// Why a command ends without success.
#[derive(Debug, Error)]
pub enum Failure {
    /// A result is wrong or a target was missed.
    #[error("{0}")]
    Mismatch(String),
    /// Bad usage or bad input.
    #[error("{0}")]
    Usage(String),
    /// No device, or it failed.
    #[error("{0}")]
    Device(String),
}

impl Failure {
    /// The same, with the stage of a recipe it happened in.
    pub fn in_stage(self, stage: &str) -> Self {
        let named = |text: String| format!("stage {stage}: {text}");
        match self {
            Self::Mismatch(text) => Self::Mismatch(named(text)),
            Self::Usage(text) => Self::Usage(named(text)),
            Self::Device(text) => Self::Device(named(text)),
        }
    }

    /// The same, with the number and name of the row of a table it happened in.
    pub fn in_row(self, (index, n_rows): (usize, usize), name: &str) -> Self {
        let named = |text: String| format!("row {} of {n_rows}, {name}: {text}", index + 1);
        match self {
            Self::Mismatch(text) => Self::Mismatch(named(text)),
            Self::Usage(text) => Self::Usage(named(text)),
            Self::Device(text) => Self::Device(named(text)),
        }
    }

    /// Process exit code.
    pub const fn exit_code(&self) -> u8 {
        match self {
            Self::Mismatch(_) => 1,
            Self::Usage(_) => 2,
            Self::Device(_) => 3,
        }
    }
}

impl From<EngineError> for Failure {
    fn from(error: EngineError) -> Self {
        match error {
            EngineError::NoAdapter { ref found, .. } if found == "none" => {
                Self::Device(format!("{error}\n{INSTALL_HINT}"))
            }
            // A shader that does not link or validate comes from --shaders: input, not device.
            EngineError::Shader(_) => Self::Usage(error.to_string()),
            _ => Self::Device(error.to_string()),
        }
    }
}

/// A shape that no variant can serve on this adapter is no fault of the device.
pub fn missed(error: EngineError) -> Failure {
    match error {
        EngineError::LoopTooLong { .. }
        | EngineError::GridTooLarge { .. }
        | EngineError::BindingTooLarge { .. }
        | EngineError::BufferTooLarge { .. } => Failure::Mismatch(error.to_string()),
        _ => error.into(),
    }
}

/// Those of some flags that were given, with commas between them; `None` of none.
pub fn given(flags: &[(bool, &str)]) -> Option<String> {
    let names = flags.iter().filter(|(is_given, _)| *is_given);
    let names: Vec<&str> = names.map(|(_, flag)| *flag).collect();
    (!names.is_empty()).then(|| names.join(", "))
}

/// Refuses a file or folder to be written whose own folder is not there, before anything that takes time.
pub fn folder_exists(file: &Path) -> Result<(), Failure> {
    match file.parent() {
        Some(folder) if !folder.as_os_str().is_empty() && !folder.is_dir() => {
            Err(Failure::Usage(format!(
                "{}: there is no folder {}",
                file.display(),
                folder.display()
            )))
        }
        Some(_) | None => Ok(()),
    }
}

/// Refuses a file that cannot be written, before anything that takes time.
pub fn can_be_written(file: &Path) -> Result<(), Failure> {
    folder_exists(file)?;
    check_writable(file).map_err(|error| Failure::Usage(error.to_string()))
}

/// What to do on a machine without any adapter.
pub const INSTALL_HINT: &str =
    "no GPU driver? A software adapter will do: apt-get install -y mesa-vulkan-drivers";

/// One line on stderr about any adapter that is not hardware.
pub fn announce(adapter: &AdapterSummary) {
    if adapter.capabilities.software {
        eprintln!(
            "note: {} runs shaders on the CPU: results count, speed does not (no hardware adapter was chosen)",
            adapter.name
        );
    }
}
