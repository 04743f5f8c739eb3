//! `params!` declares a kernel's uniform struct once and lists its member offsets, so that a test can
//! compare them with the shader's. All members are 4 bytes wide, which keeps WGSL and Rust layouts equal.

/// Declares a `#[repr(C)]` Pod struct with a `FIELDS` table of member names and byte offsets.
macro_rules! params {
    ($(#[$meta:meta])* struct $name:ident { $($(#[$field_meta:meta])* $field:ident: $type:ty,)+ }) => {
        $(#[$meta])*
        #[repr(C)]
        #[derive(Debug, Clone, Copy, PartialEq, bytemuck::Pod, bytemuck::Zeroable)]
        struct $name { $($(#[$field_meta])* $field: $type,)+ }

        impl $name {
            const FIELDS: &'static [(&'static str, usize)] =
                &[$((stringify!($field), std::mem::offset_of!($name, $field)),)+];
        }
    };
}

pub(crate) use params;
