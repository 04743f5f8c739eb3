// Attention with a running maximum: a lane takes TILE rows (queries of the heads that share keys), which
// read each key and value once, KEYS at a time, over one part of the keys.

import package::lib::grid::linear_workgroup;
import package::lib::share::{not_a_number, share_below};
import package::variant::{WORKGROUP_SIZE, QUADS, TILE, KEYS};
import package::attention::params::{params, visible_keys, q_start, k_start, v_start, out_start};
import package::lengths::sequence_length;
import package::a::load_a4;
import package::kv::{load_key4, load_value4, key_scale, value_scale};
import package::store::store_pair;

// Below every score; also the logarithm of a sum over no keys.
const LOWEST = -1e30;

@group(0) @binding(5) var<storage, read_write> log_sums: array<f32>; // [batch, splits, heads, queries]

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
    let split = at / tiles % params.splits;
    let kv_head = at / tiles / params.splits % params.kv_heads;
    let sequence = at / tiles / params.splits / params.kv_heads;
    if (sequence >= params.batch) {
        return;
    }
    let length = sequence_length(sequence);
    let part = (length + params.splits - 1u) / params.splits;
    let first = split * part;
    // How many rows precede those of this lane's keys, over all heads of a sequence.
    let row_base = kv_head * rows;

    var q: array<vec4<f32>, TILE * QUADS>;
    var total: array<vec4<f32>, TILE * QUADS>;
    var seen: array<u32, TILE>;
    var largest: array<f32, TILE>;
    var sum: array<f32, TILE>;
    var shrink: array<f32, TILE>;
    var last = 0u;
    for (var row = 0u; row < TILE; row++) {
        let index = row_base + min(first_row + row, rows - 1u);
        let query = index % params.queries;
        let start = q_start(sequence, index / params.queries, query);
        for (var quad = 0u; quad < QUADS; quad++) {
            q[row * QUADS + quad] = params.scale * load_a4(start + 4u * quad);
        }
        seen[row] = min(visible_keys(query, length), first + part);
        last = max(last, seen[row]);
        largest[row] = LOWEST;
    }
    for (var key = first; key < last; key += KEYS) {
        var scores: array<f32, TILE * KEYS>;
        var starts: array<u32, KEYS>;
        for (var i = 0u; i < KEYS; i++) {
            starts[i] = k_start(sequence, kv_head, min(key + i, last - 1u));
        }
        for (var quad = 0u; quad < QUADS; quad++) {
            for (var i = 0u; i < KEYS; i++) {
                let k = load_key4(starts[i] + 4u * quad);
                for (var row = 0u; row < TILE; row++) {
                    scores[row * KEYS + i] += dot(q[row * QUADS + quad], k);
                }
            }
        }
        for (var i = 0u; i < KEYS; i++) {
            let scale = key_scale(starts[i]);
            for (var row = 0u; row < TILE; row++) {
                scores[row * KEYS + i] *= scale;
            }
        }
        for (var row = 0u; row < TILE; row++) {
            var top = largest[row];
            for (var i = 0u; i < KEYS; i++) {
                let score = select(LOWEST, scores[row * KEYS + i], key + i < seen[row]);
                top = max(top, score);
            }
            // A maximum that stays costs no rounding.
            shrink[row] = select(share_below(largest[row] - top), 1.0, largest[row] == top);
            var added = 0.0;
            for (var i = 0u; i < KEYS; i++) {
                let weight = share_below(scores[row * KEYS + i] - top);
                let shown = select(0.0, weight, key + i < seen[row]);
                scores[row * KEYS + i] = shown;
                added += shown;
            }
            sum[row] = sum[row] * shrink[row] + added;
            largest[row] = top;
        }
        for (var i = 0u; i < KEYS; i++) {
            starts[i] = v_start(sequence, kv_head, min(key + i, last - 1u));
            let scale = value_scale(starts[i]);
            for (var row = 0u; row < TILE; row++) {
                scores[row * KEYS + i] *= scale;
            }
        }
        for (var quad = 0u; quad < QUADS; quad++) {
            var values: array<vec4<f32>, KEYS>;
            for (var i = 0u; i < KEYS; i++) {
                values[i] = load_value4(starts[i] + 4u * quad);
            }
            for (var row = 0u; row < TILE; row++) {
                var next = shrink[row] * total[row * QUADS + quad];
                for (var i = 0u; i < KEYS; i++) {
                    next += scores[row * KEYS + i] * values[i];
                }
                total[row * QUADS + quad] = next;
            }
        }
    }
    for (var row = 0u; row < TILE; row++) {
        if (first_row + row < rows) {
            let index = row_base + first_row + row;
            let any = seen[row] > first;
            let inverse = select(0.0, 1.0 / sum[row], any);
            let place = (sequence * params.splits + split) * params.heads * params.queries + index;
            let log_sum = largest[row] + log(sum[row]);
            log_sums[place] = select(LOWEST, select(log_sum, sum[row], not_a_number(sum[row])), any);
            let start = out_start(sequence, split, index / params.queries, index % params.queries);
            for (var quad = 0u; quad < QUADS; quad++) {
                let result = inverse * total[row * QUADS + quad];
                store_pair(start, 4u * quad, 4u * QUADS, result.x, result.y);
                store_pair(start, 4u * quad + 2u, 4u * QUADS, result.z, result.w);
            }
        }
    }
}
