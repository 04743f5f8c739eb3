// Gradient of the queries of attention: a lane takes TILE rows that read the same keys, KEYS at a time. The
// shares are made again from the logarithms of their sums.

import package::lib::grid::linear_workgroup;
import package::lib::share::share_below;
import package::variant::{WORKGROUP_SIZE, QUADS, TILE, KEYS};
import package::attention::params::{params, visible_keys, q_start, k_start, v_start, out_start};
import package::lengths::sequence_length;
import package::a::load_a4;
import package::kv::{load_key4, load_value4};
import package::upstream::load_upstream4;
import package::store::store_pair;

// Of each row the logarithm of its sum, and the product of its result with the gradient.
@group(0) @binding(5) var<storage, read> statistics: array<vec2<f32>>; // [batch, heads, queries]

@compute @workgroup_size(WORKGROUP_SIZE)
fn main(
    @builtin(workgroup_id) workgroup: vec3<u32>,
    @builtin(num_workgroups) workgroups: vec3<u32>,
    @builtin(local_invocation_index) lane: u32,
) {
    let at = linear_workgroup(workgroup, workgroups) * WORKGROUP_SIZE + lane;
    let rows = params.heads / params.kv_heads * params.queries;
    let tiles = (rows + TILE - 1u) / TILE;
    let first_row = at % tiles * TILE;
    let kv_head = at / tiles % params.kv_heads;
    let sequence = at / tiles / params.kv_heads;
    if (sequence >= params.batch) {
        return;
    }
    let length = sequence_length(sequence);
    let row_base = kv_head * rows;

    var q: array<vec4<f32>, TILE * QUADS>;
    var dy: array<vec4<f32>, TILE * QUADS>;
    var total: array<vec4<f32>, TILE * QUADS>;
    var seen: array<u32, TILE>;
    var known: array<vec2<f32>, TILE>;
    var last = 0u;
    for (var row = 0u; row < TILE; row++) {
        let index = row_base + min(first_row + row, rows - 1u);
        let head = index / params.queries;
        let query = index % params.queries;
        let start = q_start(sequence, head, query);
        let start_dy = out_start(sequence, 0u, head, query);
        for (var quad = 0u; quad < QUADS; quad++) {
            q[row * QUADS + quad] = params.scale * load_a4(start + 4u * quad);
            dy[row * QUADS + quad] = load_upstream4(start_dy + 4u * quad);
        }
        known[row] = statistics[sequence * params.heads * params.queries + index];
        seen[row] = visible_keys(query, length);
        last = max(last, seen[row]);
    }
    for (var key = 0u; key < last; key += KEYS) {
        var scores: array<f32, TILE * KEYS>;
        var slopes: array<f32, TILE * KEYS>;
        var keys: array<u32, KEYS>;
        var values: array<u32, KEYS>;
        for (var i = 0u; i < KEYS; i++) {
            keys[i] = k_start(sequence, kv_head, min(key + i, last - 1u));
            values[i] = v_start(sequence, kv_head, min(key + i, last - 1u));
        }
        for (var quad = 0u; quad < QUADS; quad++) {
            for (var i = 0u; i < KEYS; i++) {
                let k = load_key4(keys[i] + 4u * quad);
                let v = load_value4(values[i] + 4u * quad);
                for (var row = 0u; row < TILE; row++) {
                    scores[row * KEYS + i] += dot(q[row * QUADS + quad], k);
                    slopes[row * KEYS + i] += dot(dy[row * QUADS + quad], v);
                }
            }
        }
        for (var row = 0u; row < TILE; row++) {
            for (var i = 0u; i < KEYS; i++) {
                let share = share_below(scores[row * KEYS + i] - known[row].x);
                let slope = share * (slopes[row * KEYS + i] - known[row].y);
                slopes[row * KEYS + i] = select(0.0, slope, key + i < seen[row]);
            }
        }
        for (var quad = 0u; quad < QUADS; quad++) {
            for (var i = 0u; i < KEYS; i++) {
                let k = load_key4(keys[i] + 4u * quad);
                for (var row = 0u; row < TILE; row++) {
                    total[row * QUADS + quad] += slopes[row * KEYS + i] * k;
                }
            }
        }
    }
    for (var row = 0u; row < TILE; row++) {
        if (first_row + row < rows) {
            let index = row_base + first_row + row;
            let start = q_start(sequence, index / params.queries, index % params.queries);
            for (var quad = 0u; quad < QUADS; quad++) {
                let result = params.scale * total[row * QUADS + quad];
                store_pair(start, 4u * quad, 4u * QUADS, result.x, result.y);
                store_pair(start, 4u * quad + 2u, 4u * QUADS, result.z, result.w);
            }
        }
    }
}
