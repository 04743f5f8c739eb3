// The scale that the largest bits of a magnitude of a subgroup's lanes give, and its reciprocal.

@if(web) enable subgroups;
import package::quantize_rows::code::scale_of;

fn chunk_scale(largest: u32) -> vec2<f32> {
    return scale_of(bitcast<f32>(subgroupMax(largest)));
}
