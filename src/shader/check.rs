//! What is checked before a driver sees a shader: naga's validation, and the two limits wgpu does not
//! check (workgroup memory and workgroup size). Also writes SPIR-V, MSL and HLSL; MSL and HLSL text
//! is thus writer-checked, not compiled.

use naga::back;
use naga::valid::{Capabilities as NagaCapabilities, ModuleInfo, ValidationFlags, Validator};
use naga::{AddressSpace, Module, ShaderStage, TypeInner};

use super::{Capabilities, Linked, ShaderError, StaticCounts, Variant, counts};

/// A storage or uniform binding the entry point declares.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Binding {
    /// `@binding(n)` of group 0.
    pub slot: u32,
    /// Variable name.
    pub name: String,
    /// Uniform buffer rather than storage buffer.
    pub uniform: bool,
    /// Declared `read_write`.
    pub writable: bool,
}

/// A validated module with what can be read off it without a device.
#[derive(Debug)]
pub struct CheckedShader {
    module: Module,
    info: ModuleInfo,
    variant: String,
}

/// Parses and validates a linked shader and checks it against limits.
///
/// # Errors
/// [`ShaderError::Invalid`] with naga's annotated snippet and the source file's line, or a limit.
pub fn check(
    linked: &Linked,
    variant: &Variant,
    capabilities: &Capabilities,
) -> Result<CheckedShader, ShaderError> {
    let printed = variant.to_string();
    let invalid = |place: Option<u32>, message: String, snippet: String| ShaderError::Invalid {
        variant: printed.clone(),
        place: place.map_or_else(
            || "unknown place".to_owned(),
            |line| linked.place(line as usize),
        ),
        message,
        snippet,
    };
    let module = naga::front::wgsl::parse_str(&linked.wgsl).map_err(|error| {
        let place = error
            .location(&linked.wgsl)
            .map(|location| location.line_number);
        invalid(
            place,
            error.message().to_owned(),
            error.emit_to_string_with_path(&linked.wgsl, variant.entry()),
        )
    })?;
    let mut validator = Validator::new(ValidationFlags::all(), naga_capabilities(capabilities));
    let info = validator.validate(&module).map_err(|error| {
        let place = error
            .location(&linked.wgsl)
            .map(|location| location.line_number);
        invalid(
            place,
            error.to_string(),
            error.emit_to_string_with_path(&linked.wgsl, variant.entry()),
        )
    })?;
    let checked = CheckedShader {
        module,
        info,
        variant: printed,
    };
    let bytes = checked.workgroup_bytes();
    if bytes > capabilities.max_workgroup_bytes {
        let limit = capabilities.max_workgroup_bytes;
        return Err(ShaderError::WorkgroupStorage {
            variant: checked.variant,
            bytes,
            limit,
        });
    }
    let invocations = checked.invocations();
    if invocations > capabilities.max_invocations {
        let limit = capabilities.max_invocations;
        return Err(ShaderError::WorkgroupSize {
            variant: checked.variant,
            invocations,
            limit,
        });
    }
    Ok(checked)
}

fn naga_capabilities(capabilities: &Capabilities) -> NagaCapabilities {
    let mut allowed = NagaCapabilities::SHADER_FLOAT16_IN_FLOAT32;
    if capabilities.f16 {
        allowed |= NagaCapabilities::SHADER_FLOAT16;
    }
    if capabilities.subgroups {
        allowed |= NagaCapabilities::SUBGROUP;
    }
    if capabilities.cooperative.any() {
        allowed |= NagaCapabilities::COOPERATIVE_MATRIX;
    }
    allowed
}

impl CheckedShader {
    /// Bytes of workgroup memory the module declares.
    pub fn workgroup_bytes(&self) -> u32 {
        let shared = self
            .module
            .global_variables
            .iter()
            .filter(|(_, global)| global.space == AddressSpace::WorkGroup);
        shared
            .map(|(_, global)| {
                self.module.types[global.ty]
                    .inner
                    .size(self.module.to_ctx())
            })
            .sum()
    }

    /// Invocations in one workgroup.
    pub fn invocations(&self) -> u32 {
        self.module
            .entry_points
            .iter()
            .map(|entry| entry.workgroup_size.iter().product())
            .max()
            .unwrap_or(0)
    }

    /// Bindings of group 0 in slot order.
    pub fn bindings(&self) -> Vec<Binding> {
        let mut found = Vec::new();
        for (_, global) in self.module.global_variables.iter() {
            let (Some(resource), Some(name)) = (&global.binding, &global.name) else {
                continue;
            };
            let writable = match global.space {
                AddressSpace::Storage { access } => access.contains(naga::StorageAccess::STORE),
                _ => false,
            };
            let uniform = global.space == AddressSpace::Uniform;
            found.push(Binding {
                slot: resource.binding,
                name: name.clone(),
                uniform,
                writable,
            });
        }
        found.sort_by_key(|binding| binding.slot);
        found
    }

    /// Name and byte offset of each member of the uniform struct, in order.
    pub fn uniform_members(&self) -> Vec<(String, usize)> {
        let uniform = self
            .module
            .global_variables
            .iter()
            .find(|(_, global)| global.space == AddressSpace::Uniform);
        let Some((_, global)) = uniform else {
            return Vec::new();
        };
        match &self.module.types[global.ty].inner {
            TypeInner::Struct { members, .. } => members
                .iter()
                .map(|member| {
                    (
                        member.name.clone().unwrap_or_default(),
                        member.offset as usize,
                    )
                })
                .collect(),
            _ => Vec::new(),
        }
    }

    /// Loads, stores, multiplications, barriers and loops in the text of the entry point and of what
    /// it calls. Static: a loop's body counts once.
    pub fn counts(&self) -> StaticCounts {
        counts::count(&self.module, &self.info)
    }

    /// SPIR-V 1.3 words.
    ///
    /// # Errors
    /// [`ShaderError::Writer`] with naga's reason.
    pub fn spirv(&self) -> Result<Vec<u32>, ShaderError> {
        let options = back::spv::Options {
            lang_version: (1, 3),
            ..Default::default()
        };
        let pipeline = back::spv::PipelineOptions {
            shader_stage: ShaderStage::Compute,
            entry_point: "main".to_owned(),
        };
        back::spv::write_vec(&self.module, &self.info, &options, Some(&pipeline))
            .map_err(|error| self.writer_error("SPIR-V", &error.to_string()))
    }

    /// Metal Shading Language 3.0 text.
    ///
    /// # Errors
    /// [`ShaderError::Writer`] with naga's reason.
    pub fn msl(&self) -> Result<String, ShaderError> {
        let options = back::msl::Options {
            lang_version: (3, 0),
            fake_missing_bindings: true,
            ..Default::default()
        };
        back::msl::write_string(
            &self.module,
            &self.info,
            &options,
            &back::msl::PipelineOptions::default(),
        )
        .map(|(text, _)| text)
        .map_err(|error| self.writer_error("MSL", &error.to_string()))
    }

    /// Whether the module uses cooperative matrices, which neither HLSL nor browsers have.
    pub fn uses_cooperative_matrices(&self) -> bool {
        let mut types = self.module.types.iter();
        types.any(|(_, one)| matches!(one.inner, TypeInner::CooperativeMatrix { .. }))
    }

    /// HLSL shader model 6.4 text.
    ///
    /// # Errors
    /// [`ShaderError::Writer`] with naga's reason, and for cooperative matrices, which it cannot express.
    pub fn hlsl(&self) -> Result<String, ShaderError> {
        if self.uses_cooperative_matrices() {
            return Err(self.writer_error("HLSL", "shader model 6.4 has no cooperative matrices"));
        }
        let options = back::hlsl::Options {
            shader_model: back::hlsl::ShaderModel::V6_4,
            fake_missing_bindings: true,
            immediates_target: Some(back::hlsl::BindTarget::default()),
            ..Default::default()
        };
        let pipeline = back::hlsl::PipelineOptions::default();
        let mut text = String::new();
        back::hlsl::Writer::new(&mut text, &options, &pipeline)
            .write(&self.module, &self.info, None)
            .map_err(|error| self.writer_error("HLSL", &error.to_string()))?;
        Ok(text)
    }

    fn writer_error(&self, language: &'static str, message: &str) -> ShaderError {
        ShaderError::Writer {
            variant: self.variant.clone(),
            language,
            message: message.to_owned(),
        }
    }
}
