//! Counts of small shaders in which every number is known.

use std::fmt::Write as _;

use naga::valid::{Capabilities, ValidationFlags, Validator};

use super::counts::{StaticCounts, count};

const BINDINGS: &str = "
    struct Pair { first: vec2<f32>, second: array<u32, 3> }
    struct Params { n: u32, scale: f32 }
    @group(0) @binding(0) var<storage, read> f: array<f32>;
    @group(0) @binding(1) var<storage, read> v: array<vec4<f32>>;
    @group(0) @binding(2) var<storage, read> m: array<mat4x3<f32>>;
    @group(0) @binding(3) var<storage, read_write> out: array<f32>;
    @group(0) @binding(4) var<storage, read_write> out_v: array<vec4<f32>>;
    @group(0) @binding(5) var<storage, read_write> pairs: array<Pair>;
    @group(0) @binding(6) var<storage, read_write> sum: atomic<u32>;
    @group(0) @binding(7) var<uniform> params: Params;
    var<workgroup> tile: array<f32, 64>;
    var<workgroup> tile_v: array<vec4<f32>, 16>;
    var<workgroup> votes: atomic<u32>;
    var<private> kept: vec4<f32>;
";

/// Counts of a shader whose functions are `functions` and whose entry point is `body`.
fn counts_of(functions: &str, body: &str) -> StaticCounts {
    let wgsl = format!(
        "{BINDINGS}\n{functions}\n@compute @workgroup_size(64) fn main(
            @builtin(local_invocation_index) i: u32) {{ {body} }}"
    );
    let module = naga::front::wgsl::parse_str(&wgsl)
        .unwrap_or_else(|error| panic!("{}", error.emit_to_string(&wgsl)));
    let info = Validator::new(ValidationFlags::all(), Capabilities::all())
        .validate(&module)
        .unwrap_or_else(|error| panic!("{}", error.emit_to_string(&wgsl)));
    count(&module, &info)
}

fn counts(body: &str) -> StaticCounts {
    counts_of("", body)
}

#[test]
fn loads_and_stores_are_counted_in_scalars() {
    let expected = StaticCounts {
        storage_loads: 1 + 4 + 1 + 12 + 3 + 5,
        storage_stores: 1 + 4 + 1 + 5,
        ..Default::default()
    };
    let found = counts(
        "let a = f[i];
         let b = v[i];
         let c = v[i].y;
         let d = m[i];
         let e = m[i][1];
         let g = pairs[i];
         out[i] = a;
         out_v[i] = b;
         out_v[i].x = c;
         pairs[i + 1] = g;",
    );
    assert_eq!(found, expected);
}

#[test]
fn other_memory_is_not_counted() {
    let found = counts(
        "var local = vec4<f32>(params.scale);
         kept = local;
         local.x = kept.y;
         var many: array<u32, 4>;
         many[i] = params.n + many[0];",
    );
    assert_eq!(found, StaticCounts::default());
}

#[test]
fn workgroup_memory_and_barriers_are_counted() {
    let expected = StaticCounts {
        storage_loads: 1,
        workgroup_loads: 1 + 4 + 1,
        workgroup_stores: 1 + 4,
        barriers: 4,
        ..Default::default()
    };
    let found = counts(
        "tile[i] = f[i];
         workgroupBarrier();
         tile_v[i] = vec4<f32>(tile[i]);
         storageBarrier();
         subgroupBarrier();
         let a = tile_v[0];
         let b = workgroupUniformLoad(&tile[3]);",
    );
    assert_eq!(found, expected);
}

#[test]
fn atomics_are_a_load_and_a_store() {
    let expected = StaticCounts {
        storage_loads: 2,
        storage_stores: 1,
        workgroup_loads: 1,
        workgroup_stores: 2,
        ..Default::default()
    };
    let found = counts(
        "atomicAdd(&sum, 1u);
         let a = atomicLoad(&sum);
         atomicStore(&votes, a);
         atomicMax(&votes, a);",
    );
    assert_eq!(found, expected);
}

#[test]
fn multiplications_of_floats_are_counted_by_lane() {
    let setup = "var s = params.scale; var q = vec4<f32>(s); var w = i;
                 var a = mat4x3<f32>(); var b = mat2x4<f32>(); var k = vec4<u32>(w);";
    let cases = [
        ("let r = s * s + s;", 1),
        ("s *= 3.0;", 1),
        ("let r = q * q;", 4),
        ("let r = q * s;", 4),
        ("let r = s * q;", 4),
        ("let r = a * s;", 12),
        ("let r = a * q;", 12),
        ("let r = vec3<f32>(s) * a;", 12),
        ("let r = a * b;", 4 * 3 * 2),
        ("let r = dot(q, q);", 4),
        ("let r = dot(q.xy, q.zw);", 2),
        ("let r = fma(q, q, q);", 4),
        ("let r = fma(s, s, s);", 1),
        ("let r = s + s - s / s;", 0),
        ("let r = w * w;", 0),
        ("let r = k * k;", 0),
        ("let r = dot(k, k);", 0),
        ("let r = mix(s, s, s);", 0),
    ];
    for (statement, expected) in cases {
        let found = counts(&format!("{setup} {statement}"));
        let expected = StaticCounts {
            multiply_adds: expected,
            ..Default::default()
        };
        assert_eq!(found, expected, "{statement}");
    }
}

#[test]
fn packed_dot_products_are_counted_apart() {
    let found = counts("let a = dot4I8Packed(i, i) + 1; let b = dot4U8Packed(i, i);");
    let expected = StaticCounts {
        dot4: 2,
        ..Default::default()
    };
    assert_eq!(found, expected);
}

#[test]
fn subgroup_operations_are_counted() {
    let found = counts(
        "var s = params.scale;
         let a = subgroupAdd(s);
         let b = subgroupInclusiveAdd(s);
         let c = subgroupBallot(i > 3u);
         let d = subgroupBroadcast(s, 0u);
         let e = subgroupShuffleXor(s, 1u);
         let g = subgroupAny(i > 3u);",
    );
    let expected = StaticCounts {
        subgroup_ops: 6,
        ..Default::default()
    };
    assert_eq!(found, expected);
}

#[test]
fn a_loop_body_counts_once() {
    let found = counts(
        "for (var k = 0u; k < 1000u; k++) {
             out[i] = f[k];
             while out[i] > 1.0 { out[i] = 0.5; }
         }
         loop {
             let a = f[i];
             continuing { out[i] = 1.0; break if i > 3u; }
         }",
    );
    let expected = StaticCounts {
        storage_loads: 3,
        storage_stores: 3,
        loops: 3,
        ..Default::default()
    };
    assert_eq!(found, expected);
}

#[test]
fn every_branch_counts() {
    let found = counts(
        "if i > 3u { out[i] = f[0]; } else { out[i] = f[1]; }
         switch i {
             case 0u, 1u: { out[i] = 1.0; }
             case 2u: { out[i] = 2.0; }
             default: {}
         }",
    );
    let expected = StaticCounts {
        storage_loads: 2,
        storage_stores: 4,
        ..Default::default()
    };
    assert_eq!(found, expected);
}

#[test]
fn a_function_counts_once_for_each_call() {
    let found = counts_of(
        "fn leaf(k: u32) -> f32 { return f[k] * 2.0; }
         fn middle(k: u32) -> f32 { return leaf(k) + leaf(k + 1u); }
         fn shared_first() -> f32 { return tile[0]; }
         fn uncalled() { out[0] = f[0]; }",
        "let a = middle(i) + leaf(i) + shared_first();",
    );
    let expected = StaticCounts {
        storage_loads: 3,
        multiply_adds: 3,
        workgroup_loads: 1,
        ..Default::default()
    };
    assert_eq!(found, expected);
}

#[test]
fn counts_past_the_type_stay_at_its_end() {
    let mut functions = "fn level_0() -> f32 { return f[0]; }".to_owned();
    for level in 1..=40 {
        let below = level - 1;
        write!(
            functions,
            "\nfn level_{level}() -> f32 {{ return level_{below}() + level_{below}(); }}"
        )
        .unwrap();
    }
    let found = counts_of(&functions, "let a = level_40();");
    assert_eq!(found.storage_loads, u32::MAX);
}
