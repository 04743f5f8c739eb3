//! What an adapter can do, as plain data, so that kernels can list variants without knowing a device.

/// Products of small matrices that a subgroup makes as one instruction: `C[s, s] += A[s, s] * B[s, s]` with
/// C in f32.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct CooperativeTiles {
    /// A and B in f32, s = 8.
    pub f32_8: bool,
    /// A and B in f16, s = 8.
    pub f16_8: bool,
    /// A and B in f16, s = 16.
    pub f16_16: bool,
}

impl CooperativeTiles {
    /// No cooperative matrices.
    pub const NONE: Self = Self {
        f32_8: false,
        f16_8: false,
        f16_16: false,
    };
    /// Every kind that kernels have variants for.
    pub const ALL: Self = Self {
        f32_8: true,
        f16_8: true,
        f16_16: true,
    };

    /// Whether there is any.
    pub const fn any(self) -> bool {
        self.f32_8 || self.f16_8 || self.f16_16
    }
}

/// Limits and features a kernel may ask about. Bytes and counts, no device handles.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Capabilities {
    /// Half-precision arithmetic in shaders (`enable f16`).
    pub f16: bool,
    /// Subgroup operations in compute shaders.
    pub subgroups: bool,
    /// Smallest and largest subgroup size the driver may choose; 0 when unknown.
    pub subgroup_sizes: (u32, u32),
    /// Cooperative matrices, where the engine was asked to use them.
    pub cooperative: CooperativeTiles,
    /// A CPU runs the shaders: gathers are scalar, barriers are dear.
    pub software: bool,
    /// Invocations in one workgroup.
    pub max_invocations: u32,
    /// Workgroup memory of one workgroup, bytes.
    pub max_workgroup_bytes: u32,
    /// Largest storage binding, bytes.
    pub max_binding_bytes: u64,
    /// Largest buffer, bytes.
    pub max_buffer_bytes: u64,
    /// Workgroups along one dimension of a dispatch.
    pub max_workgroups: u32,
    /// Storage buffers one shader stage may bind.
    pub max_storage_buffers: u32,
    /// Alignment of a storage binding's offset, bytes.
    pub storage_alignment: u32,
    /// Loop iterations after which the driver silently ends an invocation's loops; `u64::MAX` where no
    /// such limit is known.
    pub max_loop_iterations: u64,
}

impl Capabilities {
    /// WebGPU's guaranteed minimum: what every variant without a capability must fit.
    pub const fn portable() -> Self {
        Self {
            f16: false,
            subgroups: false,
            subgroup_sizes: (0, 0),
            cooperative: CooperativeTiles::NONE,
            software: false,
            max_invocations: 256,
            max_workgroup_bytes: 16 * 1024,
            max_binding_bytes: 128 << 20,
            max_buffer_bytes: 256 << 20,
            max_workgroups: 65_535,
            max_storage_buffers: 8,
            storage_alignment: 256,
            max_loop_iterations: u64::MAX,
        }
    }

    /// Every optional feature at portable limits: used to list all variants without an adapter.
    pub const fn everything() -> Self {
        Self {
            f16: true,
            subgroups: true,
            subgroup_sizes: (8, 8),
            cooperative: CooperativeTiles::ALL,
            ..Self::portable()
        }
    }

    /// These limits with every optional feature: what to compare with to name what is missing.
    #[must_use]
    pub fn with_every_feature(&self) -> Self {
        let size = self.subgroup_size().unwrap_or(32);
        Self {
            f16: true,
            subgroups: true,
            subgroup_sizes: (size, size),
            cooperative: CooperativeTiles::ALL,
            ..self.clone()
        }
    }

    /// Lanes of every subgroup, where the driver has no choice: shaders that share loads by shuffles need
    /// to know.
    pub fn subgroup_size(&self) -> Option<u32> {
        let (smallest, largest) = self.subgroup_sizes;
        (self.subgroups && smallest == largest && smallest > 0).then_some(smallest)
    }
}
