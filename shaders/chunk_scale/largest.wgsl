// The scale that the largest magnitude of a subgroup's lanes gives, and its reciprocal.

@if(web) enable subgroups;
import package::quantize_rows::code::scale_of;

fn chunk_scale(largest: f32) -> vec2<f32> {
    return scale_of(subgroupMax(largest));
}
