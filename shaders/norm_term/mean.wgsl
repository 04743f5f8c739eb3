import package::norm::params::params;
import package::reduce::reduce_sum;

fn mean_gradient(sum: f32, lane: u32) -> f32 {
    return reduce_sum(sum, lane) / f32(params.columns);
}
