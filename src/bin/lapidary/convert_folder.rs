//! `lapidary convert FOLDER OUT.gguf`: a language model of a folder of Hugging Face's as a GGUF file.

use std::path::Path;

use lapidary::io::hf::HfFolder;
use lapidary::models::llama::{GgufExport, HfWeights, WeightSource as _};
use lapidary::num::ggml::GgmlType;
use lapidary::text::gguf_tokenizer;

use crate::options::Failure;
use crate::train::usage;

/// What was written.
pub struct Written {
    pub tensors: usize,
    /// The types of its tensors, with how many have each.
    pub kinds: Vec<(GgmlType, usize)>,
    /// What changed, if anything did.
    pub loss: Option<String>,
}

/// Writes the file; `to` is the type of its matrices, by default what each has. Refuses what changes weights unless
/// `is_lossy`.
pub fn gguf_of_folder(
    (input, output): (&Path, &Path),
    to: Option<GgmlType>,
    is_lossy: bool,
) -> Result<Written, Failure> {
    let refuse = |reason: &str| {
        let input = input.display();
        Err(Failure::Usage(format!("{input}: {reason}")))
    };
    if output.extension().is_none_or(|one| one != "gguf") {
        return refuse("a folder of Hugging Face's becomes a GGUF file; let OUT end in .gguf");
    }
    let weights = HfWeights::open(input).map_err(usage)?;
    let vocabulary = weights.config().map_err(usage)?.vocabulary;
    let tokenizer = gguf_tokenizer(&HfFolder::new(input), vocabulary)
        .map_err(|error| Failure::Usage(format!("{}: {error}", input.display())))?;
    // Of a path such as `.` there is none.
    let name = input
        .file_name()
        .map(|name| name.to_string_lossy().into_owned());
    let name = name.unwrap_or_else(|| "model".to_owned());
    let export = GgufExport::new(&weights, (&name, tokenizer), to).map_err(usage)?;
    let (mut kinds, mut lost, mut worst) = (Vec::<(GgmlType, usize)>::new(), 0, (0f32, ""));
    let mut tensors = 0;
    for (index, (name, kind)) in export.tensors().enumerate() {
        tensors += 1;
        match kinds.iter_mut().find(|(one, _)| *one == kind) {
            Some((_, n)) => *n += 1,
            None => kinds.push((kind, 1)),
        }
        let change = export.change(index).map_err(usage)?;
        if change == f32::INFINITY {
            return refuse(&format!(
                "{name} has values that are infinite or NaN, or would be as {kind}"
            ));
        }
        lost += usize::from(change > 0.0);
        if change > worst.0 {
            worst = (change, name);
        }
    }
    let loss = (lost > 0).then(|| {
        let (change, place) = worst;
        format!("{lost} of {tensors} tensors change, {place} most, by up to {change:e}")
    });
    if let (Some(loss), false) = (&loss, is_lossy) {
        return refuse(&format!(
            "cannot be written without loss: {loss}; --lossy rounds them, --to f32 does not"
        ));
    }
    export.write(output).map_err(usage)?;
    Ok(Written {
        tensors,
        kinds,
        loss,
    })
}
