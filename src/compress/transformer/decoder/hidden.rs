//! Calibration texts on their way through a decoder: their hidden states on the host, what the weights of one layer
//! read on the engine.

use crate::compress::stage::StageError;
use crate::compress::{Calibration, Hessian};
use crate::engine::{Engine, Plan};
use crate::io::hf::DecoderConfig;
use crate::kernels::matmul_dense::Layout;
use crate::models::llama::{LlamaBlock, LlamaEmbedding, Pass, WeightSource};
use crate::ops::nn::Indices;
use crate::ops::{MatmulOptions, OpError, matmul, transpose};
use crate::record::{Recording, Tensor};
use crate::tensor::{DType, HostTensor};

use super::super::method::Statistics;
use super::block::DecoderLinear;

/// Weights that read the same inputs.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Site {
    Attention,
    Heads,
    Ffn,
    Gated,
}

impl Site {
    pub const ALL: [Self; 4] = [Self::Attention, Self::Heads, Self::Ffn, Self::Gated];

    pub const fn of(which: DecoderLinear) -> Self {
        match which {
            DecoderLinear::Query | DecoderLinear::Key | DecoderLinear::Value => Self::Attention,
            DecoderLinear::AttentionOutput => Self::Heads,
            DecoderLinear::Gate | DecoderLinear::Up => Self::Ffn,
            DecoderLinear::Down => Self::Gated,
        }
    }

    pub const fn readers(self) -> &'static [DecoderLinear] {
        use DecoderLinear as L;
        match self {
            Self::Attention => &[L::Query, L::Key, L::Value],
            Self::Heads => &[L::AttentionOutput],
            Self::Ffn => &[L::Gate, L::Up],
            Self::Gated => &[L::Down],
        }
    }

    /// Input features.
    pub const fn width(self, config: &DecoderConfig) -> usize {
        self.readers()[0].shape(config)[1]
    }

    const fn input(self, pass: &Pass) -> &Tensor {
        match self {
            Self::Attention => &pass.attention_input,
            Self::Heads => &pass.heads,
            Self::Ffn => &pass.ffn_input,
            Self::Gated => &pass.gated,
        }
    }
}

/// What the weights of a layer read, by [`Site::ALL`].
#[derive(Debug)]
pub(super) struct Seen(Vec<Statistics>);

impl Seen {
    pub fn of(&self, site: Site) -> &Statistics {
        &self.0[site as usize]
    }
}

/// The hidden states of each text before a layer, f32 `[tokens, width]`.
#[derive(Debug, Clone)]
pub(super) struct Hidden {
    width: usize,
    texts: Vec<Vec<f32>>,
}

impl Hidden {
    /// What the first layer reads.
    pub fn embed(
        engine: &dyn Engine,
        source: &dyn WeightSource,
        texts: &[Vec<u32>],
    ) -> Result<Self, StageError> {
        let config = source.config()?;
        let embedding = LlamaEmbedding::load(source, |uploads: &Recording| {
            engine.run(uploads)?;
            Ok::<_, StageError>(())
        })?;
        let mut all = Vec::new();
        for text in texts {
            let mut recording = Recording::new();
            let given = (text.as_slice(), config.vocabulary);
            let tokens = Indices::upload(&mut recording, "tokens", &[text.len()], given)?;
            let rows = embedding.record(&mut recording, &tokens)?;
            recording.download(&rows);
            all.push(one(&engine.run(&recording)?)?);
        }
        Ok(Self {
            width: config.width,
            texts: all,
        })
    }

    /// Those of each text, f32 `[tokens, width]`.
    pub fn texts(&self) -> &[Vec<f32>] {
        &self.texts
    }

    /// The longest text, in tokens.
    pub fn longest(&self) -> usize {
        let tokens = |text: &Vec<f32>| text.len() / self.width.max(1);
        self.texts.iter().map(tokens).max().unwrap_or(0)
    }

    /// What the weights of a layer read.
    pub fn capture(
        &self,
        engine: &dyn Engine,
        (block, config): (&LlamaBlock, &DecoderConfig),
        layer: usize,
    ) -> Result<Seen, StageError> {
        let mut sums: Vec<Sums> = Vec::new();
        for site in Site::ALL {
            sums.push(Sums::new(site.readers()[0].name(layer), site.width(config)));
        }
        self.each(engine, block, true, |_, made| {
            for (sums, made) in sums.iter_mut().zip(made.chunks_exact(2)) {
                sums.add(&made[0].to_f32()?, &made[1].to_f32()?)?;
            }
            Ok(())
        })?;
        let finished = sums.into_iter().map(Sums::finish);
        Ok(Seen(finished.collect::<Result<_, _>>()?))
    }

    /// Goes past a layer.
    pub fn advance(&mut self, engine: &dyn Engine, block: &LlamaBlock) -> Result<(), StageError> {
        let mut after = Vec::new();
        self.each(engine, block, false, |_, made| {
            after.push(one(&made)?);
            Ok(())
        })?;
        self.texts = after;
        Ok(())
    }

    /// Runs the layer over each text: what its weights read and the products of that, or what it gives.
    fn each(
        &self,
        engine: &dyn Engine,
        block: &LlamaBlock,
        is_watched: bool,
        mut take: impl FnMut(usize, Vec<HostTensor>) -> Result<(), StageError>,
    ) -> Result<(), StageError> {
        let mut prepared: Option<(usize, Box<dyn Plan>)> = None;
        for (index, text) in self.texts.iter().enumerate() {
            let tokens = text.len() / self.width.max(1);
            let (_, plan) = match prepared.take() {
                Some(found) if found.0 == tokens => prepared.insert(found),
                _ => {
                    let recording = self.record(block, tokens, is_watched)?;
                    prepared.insert((tokens, engine.prepare(&recording)?))
                }
            };
            let x = HostTensor::from_f32(vec![tokens, self.width], text)?;
            take(index, plan.run(&[x])?)?;
        }
        Ok(())
    }

    fn record(
        &self,
        block: &LlamaBlock,
        tokens: usize,
        is_watched: bool,
    ) -> Result<Recording, StageError> {
        let mut recording = Recording::new();
        let x = recording.input(DType::F32, &[tokens, self.width]);
        let number = |recording: &mut Recording, value: usize| {
            let host = HostTensor::from_words_u32(vec![1], &[value as u32])?;
            Ok::<_, StageError>(recording.upload(&host))
        };
        let (start, length) = (number(&mut recording, 0)?, number(&mut recording, tokens)?);
        let pass = block.record(&mut recording, &x, (&start, &length))?;
        if !is_watched {
            recording.download(&pass.output);
            return Ok(recording);
        }
        for site in Site::ALL {
            let rows = site.input(&pass);
            let products = products(&mut recording, rows)?;
            recording.download(rows);
            recording.download(&products);
        }
        Ok(recording)
    }
}

/// `x^T x`: rows are added up.
fn products(recording: &mut Recording, rows: &Tensor) -> Result<Tensor, OpError> {
    let turned = transpose(recording, rows)?;
    let options = MatmulOptions {
        b_layout: Layout::KFirst,
        ..MatmulOptions::default()
    };
    matmul(recording, &turned, rows, &options)
}

fn one(made: &[HostTensor]) -> Result<Vec<f32>, StageError> {
    match made {
        [one] => Ok(one.to_f32()?),
        other => unreachable!("one tensor was asked for, {} came", other.len()),
    }
}

/// Sums over texts.
struct Sums {
    name: String,
    calibration: Calibration,
    /// `[k, k]`
    products: Vec<f64>,
}

impl Sums {
    fn new(name: String, k: usize) -> Self {
        Self {
            name,
            calibration: Calibration::new(k),
            products: vec![0.0; k * k],
        }
    }

    fn add(&mut self, rows: &[f32], products: &[f32]) -> Result<(), StageError> {
        self.calibration.add(&self.name, rows)?;
        for (sum, &product) in self.products.iter_mut().zip(products) {
            *sum += f64::from(product);
        }
        Ok(())
    }

    fn finish(self) -> Result<Statistics, StageError> {
        let (k, n) = (self.calibration.k(), self.calibration.n_samples());
        let hessian = Hessian::from_sums(&self.name, k, n, self.products)?;
        Ok(Statistics {
            calibration: self.calibration,
            hessian,
        })
    }
}
