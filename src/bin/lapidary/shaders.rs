//! `lapidary shaders DIR`: every linked variant in every language, for other tools to read.

use std::collections::BTreeSet;
use std::fs;
use std::path::{Path, PathBuf};

use clap::Args;
use lapidary::kernels::{Effort, REGISTRY};
use lapidary::shader::{Capabilities, Sources, Target, Variant, check, link};
use lapidary::verify::variants_of;
use serde::Serialize;

use crate::options::{CommonOptions, Failure};
use crate::output::{print, print_json};

#[derive(Debug, Args)]
pub struct ShadersOptions {
    /// Folder to write to; made if missing. Files go to `wgsl` (`wgsl-native` for what browsers lack),
    /// `spirv`, `msl` and `hlsl` below it.
    folder: PathBuf,
    /// Only these kernels.
    kernels: Vec<String>,
}

/// A variant on disk.
#[derive(Debug, Serialize)]
pub struct Written {
    file: String,
    variant: String,
    workgroup_bytes: u32,
    invocations: u32,
    extensions: Vec<String>,
}

pub fn run(common: &CommonOptions, options: &ShadersOptions) -> Result<(), Failure> {
    let sources = common.sources()?;
    let mut index = Vec::new();
    for kernel in crate::verify::selected(&options.kernels)? {
        let mut variants = BTreeSet::new();
        for capabilities in [Capabilities::everything(), Capabilities::portable()] {
            variants.extend(variants_of(kernel, Effort::Full, &capabilities).into_keys());
        }
        eprintln!("{}: {} variants", kernel.name, variants.len());
        index.extend(write_variants(
            &options.folder,
            &sources,
            kernel.name,
            &variants,
        )?);
    }
    let kernels = if options.kernels.is_empty() {
        REGISTRY.len()
    } else {
        options.kernels.len()
    };
    if common.json {
        return print_json(&index);
    }
    print(&format!(
        "{} variants of {kernels} kernels written to {}",
        index.len(),
        options.folder.display()
    ))?;
    Ok(())
}

/// Writes variants of one kernel in every language, numbered in their order.
pub fn write_variants<'a>(
    folder: &Path,
    sources: &Sources,
    kernel: &str,
    variants: impl IntoIterator<Item = &'a Variant>,
) -> Result<Vec<Written>, Failure> {
    let numbered = variants.into_iter().enumerate();
    numbered
        .map(|(number, variant)| write_variant(folder, sources, kernel, number, variant))
        .collect()
}

fn write_variant(
    folder: &Path,
    sources: &Sources,
    kernel: &str,
    number: usize,
    variant: &Variant,
) -> Result<Written, Failure> {
    let bad = |error: lapidary::shader::ShaderError| Failure::Usage(error.to_string());
    let native = link(sources, variant, &[], Target::Native).map_err(bad)?;
    let web = link(sources, variant, &[], Target::Web).map_err(bad)?;
    let checked = check(&native, variant, &Capabilities::everything()).map_err(bad)?;
    let stem = format!("{kernel}-{number:04}");
    let wgsl = format!("// {variant}\n{}", web.wgsl);
    // Browsers and HLSL have no cooperative matrices; naga's WGSL has.
    let everywhere = !checked.uses_cooperative_matrices();
    let folder_of_wgsl = if everywhere { "wgsl" } else { "wgsl-native" };
    let spirv = checked.spirv().map_err(bad)?;
    let spirv = spirv.iter().flat_map(|word| word.to_le_bytes()).collect();
    let msl = checked.msl().map_err(bad)?.into_bytes();
    let mut files = vec![
        (folder_of_wgsl, "wgsl", wgsl.into_bytes()),
        ("spirv", "spv", spirv),
        ("msl", "metal", msl),
    ];
    if everywhere {
        files.push(("hlsl", "hlsl", checked.hlsl().map_err(bad)?.into_bytes()));
    }
    for (language, extension, content) in files {
        let path = folder.join(language).join(format!("{stem}.{extension}"));
        let write = || -> Result<(), Box<dyn std::error::Error>> {
            fs::create_dir_all(folder.join(language))?;
            // A dump is made again in seconds: not worth a sync and a second read of each file.
            Ok(fs::write(&path, &content)?)
        };
        write().map_err(|error| Failure::Usage(format!("{}: {error}", path.display())))?;
    }
    Ok(Written {
        file: format!("{folder_of_wgsl}/{stem}.wgsl"),
        variant: variant.to_string(),
        workgroup_bytes: checked.workgroup_bytes(),
        invocations: checked.invocations(),
        extensions: web.extensions,
    })
}
