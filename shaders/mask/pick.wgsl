// Which digit the last score kept has, from the counts of all 256: each lane brings one count.

var<workgroup> shared_sums: array<u32, 256>;
var<workgroup> shared_digit: u32;
var<workgroup> shared_above: u32;

struct Pick {
    digit: u32,
    above: u32, // scores with a larger digit: all of them are kept
}

// The digit at which the counts from 255 down reach `left`; 255 where nothing is left to keep, which
// makes a cut-off that no score reaches. All 256 lanes call, and all get the result.
fn pick_digit(count: u32, left: u32, lane: u32) -> Pick {
    shared_sums[lane] = count;
    if (lane == 0u) {
        shared_digit = 255u;
        shared_above = 0u;
    }
    workgroupBarrier();
    for (var width = 1u; width < 256u; width *= 2u) {
        var more = 0u;
        if (lane + width < 256u) {
            more = shared_sums[lane + width];
        }
        workgroupBarrier();
        shared_sums[lane] += more;
        workgroupBarrier();
    }
    let reached = shared_sums[lane];
    let above = reached - count;
    if (above < left && left <= reached) {
        shared_digit = lane;
        shared_above = above;
    }
    workgroupBarrier();
    let pick = Pick(shared_digit, shared_above);
    workgroupBarrier();
    return pick;
}
