//! The shapes, and who makes each product how.

use lapidary::kernels::matmul_dense::Layout;
use lapidary::num::Scheme;
use lapidary::ops::ActivationPath::{self, Float, Int8PerBlock, Int8PerRow};
use lapidary::tensor::DType;

use crate::operands::Shape;
use crate::{burn, candle, ours, web_rwkv};

/// A product and its contenders, which may be compared with each other.
pub struct Case {
    pub name: &'static str,
    pub shape: Shape,
    pub contenders: Vec<Spec>,
}

/// A contender by name.
#[derive(Debug, Clone, Copy)]
pub struct Spec {
    pub label: &'static str,
    pub method: Method,
}

#[derive(Debug, Clone, Copy)]
pub enum Method {
    Ours(ours::Method),
    /// Lapidary's CPU engine: the reference, slow on purpose.
    OursOnCpu(ours::Method),
    Burn(burn::Format, burn::Layout),
    WebRwkv(web_rwkv::Op, web_rwkv::Format),
    Candle(candle::Format),
}

impl Method {
    pub const fn is_ours(self) -> bool {
        matches!(self, Self::Ours(_) | Self::OursOnCpu(_))
    }

    /// Name of the package that makes the product.
    pub const fn package(self) -> &'static str {
        match self {
            Self::Ours(_) | Self::OursOnCpu(_) => "lapidary",
            Self::Burn(..) => "burn",
            Self::WebRwkv(..) => "web-rwkv",
            Self::Candle(_) => "candle-core",
        }
    }
}

/// Every case. Labels give the types of x and w and, where a library has both, how w is stored.
pub fn cases() -> Vec<Case> {
    let cube = |side| shape(side, side, side);
    let vector = shape(1, 4096, 4096);
    vec![
        case("matmul f32", cube(512), dense_f32()),
        case("matmul f32", shape(128, 2048, 2048), dense_f32()),
        case("matmul f32", cube(1024), dense_f32()),
        case("matmul f16", cube(1024), dense_f16()),
        case("matmul 8 bit", cube(1024), matmul_8_bit()),
        case("matmul 4 bit", cube(1024), matmul_4_bit()),
        case("matvec float", vector, matvec_float()),
        case("matvec 8 bit", vector, matvec_8_bit()),
        case("matvec 4 bit", vector, matvec_4_bit()),
        case("cpu matvec", vector, cpu_matvec()),
    ]
}

const INT4: Scheme = Scheme::int4_group(64);
const INT8: Scheme = Scheme::int8_channel();

type Contenders = Vec<(&'static str, Method)>;

fn dense_f32() -> Contenders {
    vec![
        ("f32, w [k, n]", dense(DType::F32, Layout::KFirst)),
        ("f32, w [n, k]", dense(DType::F32, Layout::KLast)),
        ("f32, w [k, n]", k_first(burn::Format::F32)),
        ("f32, w [n, k]", k_last(burn::Format::F32)),
    ]
}

fn dense_f16() -> Contenders {
    vec![
        ("f16, w [k, n]", dense(DType::F16, Layout::KFirst)),
        ("f16, w [n, k]", dense(DType::F16, Layout::KLast)),
        ("f16, w [k, n]", k_first(burn::Format::F16)),
        ("f16, w [n, k]", k_last(burn::Format::F16)),
        ("f16, mat", mat(web_rwkv::Format::Fp16)),
    ]
}

fn matmul_8_bit() -> Contenders {
    vec![
        ("x int8 a row, w int8", quantized(INT8, Int8PerRow)),
        ("x f32, w int8", quantized(INT8, Float)),
        ("x q8, w q8 [k, n]", k_first(burn::Format::Q8)),
        ("x q8, w q8 [n, k]", k_last(burn::Format::Q8)),
        ("x f32, w q8 [k, n]", k_first(burn::Format::Q8Weight)),
        ("x f32, w q8 [n, k]", k_last(burn::Format::Q8Weight)),
        ("x f16, w int8, mat", mat(web_rwkv::Format::Int8)),
    ]
}

fn matmul_4_bit() -> Contenders {
    vec![
        ("x int8 a row, w int4 g64", quantized(INT4, Int8PerRow)),
        ("x int8 b64, w int4 g64", quantized(INT4, Int8PerBlock(64))),
        ("x f32, w int4 g64", quantized(INT4, Float)),
        ("x f32, w q4 b32 [k, n]", k_first(burn::Format::Q4Weight)),
        ("x f32, w q4 b32 [n, k]", k_last(burn::Format::Q4Weight)),
        ("x f16, w nf4, mat", mat(web_rwkv::Format::Nf4)),
    ]
}

fn matvec_float() -> Contenders {
    vec![
        ("f32, w [n, k]", dense(DType::F32, Layout::KLast)),
        ("f16, w [n, k]", dense(DType::F16, Layout::KLast)),
        ("f32, w [k, n]", k_first(burn::Format::F32)),
        ("f32, w [n, k]", k_last(burn::Format::F32)),
        ("f16, w [k, n]", k_first(burn::Format::F16)),
        ("f16, w [n, k]", k_last(burn::Format::F16)),
        ("x f32, w f16, vec", vec(web_rwkv::Format::Fp16)),
    ]
}

fn matvec_8_bit() -> Contenders {
    vec![
        ("x int8 a row, w int8", quantized(INT8, Int8PerRow)),
        ("x f32, w int8", quantized(INT8, Float)),
        ("x f32, w q8 [k, n]", k_first(burn::Format::Q8Weight)),
        ("x f32, w q8 [n, k]", k_last(burn::Format::Q8Weight)),
        ("x f32, w int8, vec", vec(web_rwkv::Format::Int8)),
    ]
}

fn matvec_4_bit() -> Contenders {
    vec![
        ("x int8 a row, w int4 g64", quantized(INT4, Int8PerRow)),
        ("x int8 b64, w int4 g64", quantized(INT4, Int8PerBlock(64))),
        ("x f32, w int4 g64", quantized(INT4, Float)),
        ("x f32, w q4 b32 [k, n]", k_first(burn::Format::Q4Weight)),
        ("x f32, w nf4, vec", vec(web_rwkv::Format::Nf4)),
    ]
}

fn cpu_matvec() -> Contenders {
    let reference = |scheme| Method::OursOnCpu(ours::Method::Quantized(scheme, Int8PerBlock(32)));
    vec![
        ("x Q8, w Q4_0, reference", reference(Scheme::ggml_q4_0())),
        ("x Q8, w Q8_0, reference", reference(Scheme::ggml_q8_0())),
        ("x Q8, w Q4_0", Method::Candle(candle::Format::Q4_0)),
        ("x Q8, w Q8_0", Method::Candle(candle::Format::Q8_0)),
    ]
}

const fn shape(m: usize, n: usize, k: usize) -> Shape {
    Shape { m, n, k }
}

fn case(name: &'static str, shape: Shape, contenders: Contenders) -> Case {
    let spec = |(label, method)| Spec { label, method };
    Case {
        name,
        shape,
        contenders: contenders.into_iter().map(spec).collect(),
    }
}

const fn dense(dtype: DType, layout: Layout) -> Method {
    Method::Ours(ours::Method::Dense(dtype, layout))
}

const fn quantized(scheme: Scheme, activations: ActivationPath) -> Method {
    Method::Ours(ours::Method::Quantized(scheme, activations))
}

const fn k_first(format: burn::Format) -> Method {
    Method::Burn(format, burn::Layout::KFirst)
}

const fn k_last(format: burn::Format) -> Method {
    Method::Burn(format, burn::Layout::KLast)
}

const fn mat(format: web_rwkv::Format) -> Method {
    Method::WebRwkv(web_rwkv::Op::Mat, format)
}

const fn vec(format: web_rwkv::Format) -> Method {
    Method::WebRwkv(web_rwkv::Op::Vec, format)
}
