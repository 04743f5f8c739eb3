//! The libraries, each opened at most once, on one adapter.

use std::cell::OnceCell;
use std::sync::Arc;

use ::burn::tensor::Device;
use lapidary::engine::gpu::AdapterSummary;
use lapidary::engine::{CpuEngine, GpuEngine};

use crate::burn::{self, Burn};
use crate::candle::Candle;
use crate::cases::{Method, Spec};
use crate::measure::{Contender, Failure};
use crate::operands::Operands;
use crate::ours::{Ours, Place, open_lapidary};
use crate::web_rwkv::{self, WebRwkv};

/// What contenders are made from.
pub struct Session {
    engine: Arc<GpuEngine>,
    burn: OnceCell<Result<Device, String>>,
    web_rwkv: OnceCell<Result<(), String>>,
}

impl Session {
    /// Opens Lapidary; peers wait until one of their products is wanted.
    pub fn open(device: &str) -> Result<Self, Failure> {
        Ok(Self {
            engine: Arc::new(open_lapidary(device)?),
            burn: OnceCell::new(),
            web_rwkv: OnceCell::new(),
        })
    }

    pub fn engine(&self) -> &Arc<GpuEngine> {
        &self.engine
    }

    pub fn adapter(&self) -> &AdapterSummary {
        self.engine.summary()
    }

    /// Uploads the operands for one contender.
    pub fn contender(
        &self,
        spec: &Spec,
        operands: &Operands,
    ) -> Result<Box<dyn Contender>, Failure> {
        Ok(match spec.method {
            Method::Ours(method) => {
                let place = Place::Gpu(Arc::clone(&self.engine));
                Box::new(Ours::new(place, method, operands)?)
            }
            Method::OursOnCpu(method) => {
                Box::new(Ours::new(Place::Cpu(CpuEngine::new()), method, operands)?)
            }
            Method::Burn(format, layout) => {
                Box::new(Burn::new(self.burn()?, format, layout, operands)?)
            }
            Method::WebRwkv(op, format) => {
                self.build_web_rwkv()?;
                Box::new(WebRwkv::new(&self.adapter().name, op, format, operands)?)
            }
            Method::Candle(format) => Box::new(Candle::new(format, operands)?),
        })
    }

    fn burn(&self) -> Result<&Device, Failure> {
        let open = || burn::open(self.adapter()).map_err(|error| error.to_string());
        Ok(self.burn.get_or_init(open).as_ref().map_err(Clone::clone)?)
    }

    fn build_web_rwkv(&self) -> Result<(), Failure> {
        let build = || web_rwkv::build().map_err(|error| error.to_string());
        Ok(self.web_rwkv.get_or_init(build).clone()?)
    }
}
