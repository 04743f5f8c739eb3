// Weights that meet only zeros are not loaded.

@if(web) enable subgroups;

fn is_wanted(nonzero: bool) -> bool {
    return subgroupAny(nonzero);
}
