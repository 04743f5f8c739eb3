//! Lists every file under `shaders/` with its text, so that adding a shader touches no list by hand.
//! `src/shader/sources.rs` includes the generated table.

use std::fmt::Write as _;
use std::path::{Path, PathBuf};
use std::{env, fs, io};

fn main() -> io::Result<()> {
    println!("cargo::rerun-if-changed=shaders");
    println!("cargo::rerun-if-changed=build.rs");
    // The table holds absolute paths: a checkout that was moved must not read its old place.
    println!("cargo::rerun-if-env-changed=CARGO_MANIFEST_DIR");
    let root =
        PathBuf::from(env::var("CARGO_MANIFEST_DIR").map_err(io::Error::other)?).join("shaders");
    let mut files = Vec::new();
    collect(&root, &mut files)?;
    files.sort();
    let mut table = String::from("&[\n");
    for file in files {
        let module = file
            .strip_prefix(&root)
            .map_err(io::Error::other)?
            .with_extension("");
        let module = module.to_string_lossy().replace('\\', "/");
        writeln!(
            table,
            "    ({module:?}, include_str!({:?})),",
            file.display()
        )
        .map_err(io::Error::other)?;
    }
    table.push(']');
    let out = PathBuf::from(env::var("OUT_DIR").map_err(io::Error::other)?);
    fs::write(out.join("shaders.rs"), table)
}

fn collect(folder: &Path, files: &mut Vec<PathBuf>) -> io::Result<()> {
    for entry in fs::read_dir(folder)? {
        let path = entry?.path();
        if path.is_dir() {
            collect(&path, files)?;
        } else if path
            .extension()
            .is_some_and(|extension| extension == "wgsl")
        {
            files.push(path);
        }
    }
    Ok(())
}
