// Gradients of the keys and values of attention: a lane takes TILE keys and passes the rows of queries that
// read them, ROWS at a time. The shares are made again from the logarithms of their sums.

import package::lib::grid::linear_workgroup;
import package::lib::share::share_below;
import package::variant::{WORKGROUP_SIZE, QUADS, TILE, ROWS};
import package::attention::params::{params, visible_keys, q_start, k_start, v_start, out_start};
import package::lengths::sequence_length;
import package::a::load_a4;
import package::kv::{load_key4, load_value4};
import package::upstream::load_upstream4;
import package::store::store_pair;
import package::store_second::store_second_pair;

// Of each row the logarithm of its sum, and the product of its result with the gradient.
@group(0) @binding(5) var<storage, read> statistics: array<vec2<f32>>; // [batch, heads, queries]

@compute @workgroup_size(WORKGROUP_SIZE)
fn main(
    @builtin(workgroup_id) workgroup: vec3<u32>,
    @builtin(num_workgroups) workgroups: vec3<u32>,
    @builtin(local_invocation_index) lane: u32,
) {
    let at = linear_workgroup(workgroup, workgroups) * WORKGROUP_SIZE + lane;
    let tiles = (params.keys + TILE - 1u) / TILE;
    let first_key = at % tiles * TILE;
    let kv_head = at / tiles % params.kv_heads;
    let sequence = at / tiles / params.kv_heads;
    if (sequence >= params.batch) {
        return;
    }
    let length = sequence_length(sequence);
    let rows = params.heads / params.kv_heads * params.queries;
    let row_base = kv_head * rows;

    var k: array<vec4<f32>, TILE * QUADS>;
    var v: array<vec4<f32>, TILE * QUADS>;
    var dk: array<vec4<f32>, TILE * QUADS>;
    var dv: array<vec4<f32>, TILE * QUADS>;
    for (var key = 0u; key < TILE; key++) {
        let token = min(first_key + key, params.keys - 1u);
        let start = k_start(sequence, kv_head, token);
        let start_v = v_start(sequence, kv_head, token);
        for (var quad = 0u; quad < QUADS; quad++) {
            k[key * QUADS + quad] = load_key4(start + 4u * quad);
            v[key * QUADS + quad] = load_value4(start_v + 4u * quad);
        }
    }
    for (var row = 0u; row < rows; row += ROWS) {
        var starts: array<u32, ROWS>;
        var starts_dy: array<u32, ROWS>;
        var seen: array<u32, ROWS>;
        var known: array<vec2<f32>, ROWS>;
        var most = 0u;
        for (var i = 0u; i < ROWS; i++) {
            let index = row_base + min(row + i, rows - 1u);
            let head = index / params.queries;
            let query = index % params.queries;
            starts[i] = q_start(sequence, head, query);
            starts_dy[i] = out_start(sequence, 0u, head, query);
            known[i] = statistics[sequence * params.heads * params.queries + index];
            seen[i] = select(0u, visible_keys(query, length), row + i < rows);
            most = max(most, seen[i]);
        }
        if (most <= first_key) {
            continue;
        }
        var shares: array<f32, TILE * ROWS>;
        var slopes: array<f32, TILE * ROWS>;
        for (var quad = 0u; quad < QUADS; quad++) {
            for (var i = 0u; i < ROWS; i++) {
                let q = params.scale * load_a4(starts[i] + 4u * quad);
                let dy = load_upstream4(starts_dy[i] + 4u * quad);
                for (var key = 0u; key < TILE; key++) {
                    shares[key * ROWS + i] += dot(q, k[key * QUADS + quad]);
                    slopes[key * ROWS + i] += dot(dy, v[key * QUADS + quad]);
                }
            }
        }
        for (var key = 0u; key < TILE; key++) {
            for (var i = 0u; i < ROWS; i++) {
                let pair = key * ROWS + i;
                let share = share_below(shares[pair] - known[i].x);
                let is_seen = first_key + key < seen[i];
                shares[pair] = select(0.0, share, is_seen);
                slopes[pair] = select(0.0, share * (slopes[pair] - known[i].y), is_seen);
            }
        }
        for (var quad = 0u; quad < QUADS; quad++) {
            for (var i = 0u; i < ROWS; i++) {
                let q = params.scale * load_a4(starts[i] + 4u * quad);
                let dy = load_upstream4(starts_dy[i] + 4u * quad);
                for (var key = 0u; key < TILE; key++) {
                    dk[key * QUADS + quad] += slopes[key * ROWS + i] * q;
                    dv[key * QUADS + quad] += shares[key * ROWS + i] * dy;
                }
            }
        }
    }
    for (var key = 0u; key < TILE; key++) {
        if (first_key + key < params.keys) {
            let start = k_start(sequence, kv_head, first_key + key);
            let start_v = v_start(sequence, kv_head, first_key + key);
            for (var quad = 0u; quad < QUADS; quad++) {
                let left = dk[key * QUADS + quad];
                store_pair(start, 4u * quad, 4u * QUADS, left.x, left.y);
                store_pair(start, 4u * quad + 2u, 4u * QUADS, left.z, left.w);
                let right = dv[key * QUADS + quad];
                store_second_pair(start_v, 4u * quad, 4u * QUADS, right.x, right.y);
                store_second_pair(start_v, 4u * quad + 2u, 4u * QUADS, right.z, right.w);
            }
        }
    }
}
