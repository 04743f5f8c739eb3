//! An open device: the features and limits asked for, and the errors it reported outside any call.

use std::sync::{Arc, Mutex, PoisonError};

use wgpu::{Device, ExperimentalFeatures, Features, Limits, Queue};

use crate::engine::EngineError;
use crate::shader::Capabilities;

use super::GpuOptions;
use super::adapter::{AdapterSummary, capabilities, choose, summarize};

#[derive(Debug, Default)]
struct Faults {
    lost: Option<String>,
    uncaptured: Option<wgpu::Error>,
}

/// Device, queue and what is known about them.
#[derive(Debug)]
pub(super) struct OpenDevice {
    pub device: Device,
    pub queue: Queue,
    pub summary: AdapterSummary,
    pub features: Features,
    faults: Arc<Mutex<Faults>>,
}

impl OpenDevice {
    pub async fn open(options: &GpuOptions) -> Result<Self, EngineError> {
        check_options(options)?;
        let adapter = choose(&options.device).await?;
        let mut summary = summarize(&adapter);
        let mut features = adapter.features()
            & (Features::SHADER_F16
                | Features::SUBGROUP
                | Features::TIMESTAMP_QUERY
                | Features::PIPELINE_CACHE
                | Features::EXPERIMENTAL_COOPERATIVE_MATRIX);
        if !options.cooperative_matrix {
            features.remove(Features::EXPERIMENTAL_COOPERATIVE_MATRIX);
        }
        if options.without_f16 {
            features.remove(Features::SHADER_F16);
        }
        if options.without_subgroups {
            features.remove(Features::SUBGROUP);
        }
        let limits = requested_limits(&adapter.limits(), options);
        let descriptor = wgpu::DeviceDescriptor {
            label: Some("lapidary"),
            required_features: features,
            required_limits: limits.clone(),
            experimental_features: experimental(features),
            ..Default::default()
        };
        let (device, queue) = adapter.request_device(&descriptor).await.map_err(|error| {
            EngineError::DeviceRequest {
                adapter: summary.name.clone(),
                reason: error.to_string(),
            }
        })?;
        let faults = Arc::new(Mutex::new(Faults::default()));
        let seen = Arc::clone(&faults);
        device.on_uncaptured_error(Arc::new(move |error| {
            seen.lock()
                .unwrap_or_else(PoisonError::into_inner)
                .uncaptured
                .get_or_insert(error);
        }));
        let seen = Arc::clone(&faults);
        device.set_device_lost_callback(move |reason, message| {
            let text = format!("{reason:?} {message}");
            seen.lock()
                .unwrap_or_else(PoisonError::into_inner)
                .lost
                .get_or_insert(text);
        });
        summary.capabilities = capabilities(&adapter, features, &limits);
        Ok(Self {
            device,
            queue,
            summary,
            features,
            faults,
        })
    }

    pub const fn capabilities(&self) -> &Capabilities {
        &self.summary.capabilities
    }

    /// Gives up the device; every later call reports it as lost.
    pub fn destroy(&self) {
        let mut faults = self.faults.lock().unwrap_or_else(PoisonError::into_inner);
        faults
            .lost
            .get_or_insert_with(|| "destroyed by its owner".to_owned());
        drop(faults);
        self.device.destroy();
    }

    /// Loss, or an error that no scope caught.
    pub fn check(&self) -> Result<(), EngineError> {
        let mut faults = self.faults.lock().unwrap_or_else(PoisonError::into_inner);
        if let Some(reason) = &faults.lost {
            return Err(EngineError::DeviceLost {
                adapter: self.summary.name.clone(),
                reason: reason.clone(),
            });
        }
        match faults.uncaptured.take() {
            Some(error) => Err(self.translate(&error)),
            None => Ok(()),
        }
    }

    /// Runs `work` inside error scopes and returns what they caught.
    pub fn scoped<T>(
        &self,
        work: impl FnOnce() -> Result<T, EngineError>,
    ) -> Result<T, EngineError> {
        self.check()?;
        let filters = [
            wgpu::ErrorFilter::Internal,
            wgpu::ErrorFilter::OutOfMemory,
            wgpu::ErrorFilter::Validation,
        ];
        let scopes = filters.map(|filter| self.device.push_error_scope(filter));
        let result = work();
        let mut caught = None;
        for scope in scopes.into_iter().rev() {
            let error = pollster::block_on(scope.pop());
            caught = caught.or(error);
        }
        self.check()?;
        match caught {
            Some(error) => Err(self.translate(&error)),
            None => result,
        }
    }

    pub fn driver_error(&self, reason: impl Into<String>) -> EngineError {
        EngineError::Driver {
            adapter: self.summary.name.clone(),
            reason: reason.into(),
        }
    }

    fn translate(&self, error: &wgpu::Error) -> EngineError {
        let adapter = self.summary.name.clone();
        match error {
            wgpu::Error::OutOfMemory { .. } => EngineError::OutOfMemory {
                adapter,
                needed: 0,
                in_use: 0,
                budget: u64::MAX,
            },
            wgpu::Error::Validation { description, .. }
            | wgpu::Error::Internal { description, .. } => EngineError::Driver {
                adapter,
                reason: description.clone(),
            },
        }
    }
}

/// Refuses limits that nothing could run in.
/// Leave to use what wgpu calls experimental, when something of it is wanted.
#[expect(unsafe_code, reason = "the API marks experimental features unsafe")]
fn experimental(features: Features) -> ExperimentalFeatures {
    if !features.contains(Features::EXPERIMENTAL_COOPERATIVE_MATRIX) {
        return ExperimentalFeatures::disabled();
    }
    // SAFETY: the user asked for it with `GpuOptions::cooperative_matrix`, which says what it means.
    unsafe { ExperimentalFeatures::enabled() }
}

fn check_options(options: &GpuOptions) -> Result<(), EngineError> {
    const SMALLEST: u64 = 4096;
    let limits = [
        (
            "max_binding_bytes",
            options.max_binding_bytes,
            SMALLEST,
            "at least 4096",
        ),
        (
            "max_buffer_bytes",
            options.max_buffer_bytes,
            16 * SMALLEST,
            "at least 65536",
        ),
        (
            "max_workgroups",
            options.max_workgroups.map(u64::from),
            1,
            "at least 1",
        ),
    ];
    for (name, value, smallest, allowed) in limits {
        if let Some(value) = value.filter(|&value| value < smallest) {
            return Err(EngineError::InvalidOption {
                name,
                value,
                allowed,
            });
        }
    }
    Ok(())
}

/// The adapter's own limits, lowered where the options ask for less.
fn requested_limits(adapter: &Limits, options: &GpuOptions) -> Limits {
    let mut limits = adapter.clone();
    if let Some(bytes) = options.max_binding_bytes {
        limits.max_storage_buffer_binding_size = limits.max_storage_buffer_binding_size.min(bytes);
    }
    if let Some(bytes) = options.max_buffer_bytes {
        limits.max_buffer_size = limits.max_buffer_size.min(bytes);
    }
    if let Some(count) = options.max_workgroups {
        let lowest = limits.max_compute_workgroups_per_dimension.min(count);
        limits.max_compute_workgroups_per_dimension = lowest;
    }
    if let Some(bytes) = options.max_workgroup_bytes {
        limits.max_compute_workgroup_storage_size =
            limits.max_compute_workgroup_storage_size.min(bytes);
    }
    limits
}
