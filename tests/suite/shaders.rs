//! Every variant of every kernel, without a GPU: it links, validates within the portable limits, can be
//! written in every backend's language, and agrees with its Rust twin on bindings and parameters.

use std::collections::{BTreeMap, BTreeSet};

use lapidary::kernels::{Effort, REGISTRY};
use lapidary::record::Access;
use lapidary::shader::{Capabilities, Sources, Target, check, link};
use lapidary::verify::variants_of;

const SOFTWARE: Capabilities = Capabilities {
    software: true,
    ..Capabilities::everything()
};

#[test]
fn every_variant_validates_and_is_written_in_every_language() {
    let sources = Sources::embedded();
    let mut count = 0;
    for kernel in REGISTRY {
        for capabilities in [
            Capabilities::everything(),
            Capabilities::portable(),
            SOFTWARE,
        ] {
            for variant in variants_of(kernel, Effort::Full, &capabilities).keys() {
                let linked = link(&sources, variant, &[], Target::Native)
                    .unwrap_or_else(|error| panic!("{error}"));
                let checked = check(&linked, variant, &capabilities)
                    .unwrap_or_else(|error| panic!("{error}"));
                assert!(
                    !checked
                        .spirv()
                        .unwrap_or_else(|error| panic!("{error}"))
                        .is_empty()
                );
                assert!(
                    checked
                        .msl()
                        .unwrap_or_else(|error| panic!("{error}"))
                        .contains("kernel")
                );
                match checked.hlsl() {
                    Ok(text) => assert!(text.contains("numthreads")),
                    Err(error) => assert!(checked.uses_cooperative_matrices(), "{error}"),
                }
                let counts = checked.counts();
                assert!(counts.storage_stores > 0, "{variant}: {counts:?}");
                count += 1;
            }
        }
    }
    assert!(count > 100, "only {count} variants");
}

#[test]
fn bindings_and_parameters_agree_with_the_rust_side() {
    let sources = Sources::embedded();
    for kernel in REGISTRY {
        for (variant, launch) in variants_of(kernel, Effort::Quick, &Capabilities::everything()) {
            let linked = link(&sources, &variant, &[], Target::Native)
                .unwrap_or_else(|error| panic!("{error}"));
            let checked = check(&linked, &variant, &Capabilities::everything())
                .unwrap_or_else(|error| panic!("{error}"));
            let declared: BTreeMap<u32, (String, bool)> = checked
                .bindings()
                .into_iter()
                .filter(|binding| !binding.uniform)
                .map(|binding| (binding.slot, (binding.name, binding.writable)))
                .collect();
            let expected: BTreeMap<u32, (String, bool)> = launch
                .slots()
                .into_iter()
                .map(|slot| {
                    (
                        slot.binding,
                        (slot.name.to_owned(), slot.access != Access::Read),
                    )
                })
                .collect();
            assert_eq!(declared, expected, "bindings of {variant}");
            assert!(
                expected.len() <= 8,
                "{variant} binds {} storage buffers",
                expected.len()
            );
            let members: Vec<(String, usize)> = launch
                .param_fields()
                .iter()
                .map(|(name, offset)| ((*name).to_owned(), *offset))
                .collect();
            assert_eq!(
                checked.uniform_members(),
                members,
                "parameters of {variant}"
            );
            assert_eq!(launch.params().len(), members.len() * 4, "{variant}");
        }
    }
}

#[test]
fn an_adapter_without_extensions_is_given_no_variant_that_needs_one() {
    let sources = Sources::embedded();
    for kernel in REGISTRY {
        for case in (kernel.cases)(Effort::Full) {
            let variants = case.launch.variants(&Capabilities::portable());
            assert!(
                !variants.is_empty(),
                "{}: no portable variant for {}",
                kernel.name,
                case.name
            );
            for variant in variants {
                let linked = link(&sources, &variant, &[], Target::Web)
                    .unwrap_or_else(|error| panic!("{error}"));
                assert!(
                    linked.extensions.is_empty(),
                    "{variant} needs {:?}",
                    linked.extensions
                );
            }
        }
    }
}

#[test]
fn every_shader_file_is_linked_by_some_variant() {
    let sources = Sources::embedded();
    let mut used = BTreeSet::new();
    for kernel in REGISTRY {
        for variant in variants_of(kernel, Effort::Full, &Capabilities::everything()).keys() {
            let linked = link(&sources, variant, &[], Target::Native)
                .unwrap_or_else(|error| panic!("{error}"));
            used.extend(linked.modules().map(str::to_owned).collect::<Vec<_>>());
        }
    }
    let unused: Vec<&str> = sources
        .modules()
        .filter(|module| !used.contains(*module))
        .collect();
    assert!(unused.is_empty(), "no variant links {unused:?}");
}

#[test]
fn cases_have_unique_names_and_every_edit_applies() {
    let sources = Sources::embedded();
    for kernel in REGISTRY {
        let mut names = BTreeSet::new();
        for case in (kernel.cases)(Effort::Full) {
            assert!(
                names.insert(case.name.clone()),
                "{}: two cases named {}",
                kernel.name,
                case.name
            );
        }
        assert!(
            kernel.broken.len() >= 5,
            "{} declares {} broken shaders",
            kernel.name,
            kernel.broken.len()
        );
        let mut linked = BTreeSet::new();
        for variant in variants_of(kernel, Effort::Quick, &Capabilities::everything()).keys() {
            let one = link(&sources, variant, &[], Target::Native)
                .unwrap_or_else(|error| panic!("{error}"));
            linked.extend(one.modules().map(str::to_owned).collect::<Vec<_>>());
        }
        for edit in kernel.broken {
            assert!(
                linked.contains(edit.module),
                "{}: no variant links {}",
                kernel.name,
                edit.module
            );
            let text = sources
                .get(edit.module)
                .unwrap_or_else(|| panic!("{}: no module {}", kernel.name, edit.module));
            assert_eq!(
                text.matches(edit.find).count(),
                1,
                "{}: edit {} in {}",
                kernel.name,
                edit.name,
                edit.module
            );
        }
    }
}

#[test]
fn a_workgroup_over_the_memory_limit_is_refused() {
    let sources = Sources::embedded();
    let small = Capabilities {
        max_workgroup_bytes: 64,
        ..Capabilities::everything()
    };
    let mut refused = 0;
    for kernel in REGISTRY {
        for variant in variants_of(kernel, Effort::Quick, &Capabilities::portable()).keys() {
            let linked = link(&sources, variant, &[], Target::Native)
                .unwrap_or_else(|error| panic!("{error}"));
            refused += usize::from(check(&linked, variant, &small).is_err());
        }
    }
    assert!(
        refused > 0,
        "no variant uses more than 64 bytes of workgroup memory?"
    );
}

#[test]
fn the_readme_lists_every_kernel() {
    let readme = include_str!("../../README.md");
    for kernel in REGISTRY {
        let row = format!("| `{}` | {} |", kernel.name, kernel.summary);
        assert!(readme.contains(&row), "README.md lacks the line {row}");
    }
}
