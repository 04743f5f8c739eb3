//! Linking: an entry file and its imports become one plain WGSL text.
//!
//! Handles the subset of WESL the shaders use: `import package::path::name;` (or `{a, b}`), then
//! `@if(web)` in front of a line only browsers need, then plain WGSL. Modules are pasted verbatim in
//! dependency order; comments and line numbers survive (an import line becomes an empty line). Names
//! are global after linking, so a name declared twice is an error, and a module may only use what it
//! imports. See `docs/decisions/0001-linker.md`.

use std::collections::{BTreeMap, BTreeSet};

use super::{Edit, ShaderError, Sources, Variant};

/// Who will read the linked text.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Target {
    /// naga (wgpu native): `@if(web)` lines are left out.
    Native,
    /// A browser or another WGSL compiler: `@if(web)` lines are kept without the attribute.
    Web,
}

/// One plain WGSL text and where its lines came from.
#[derive(Debug, Clone)]
pub struct Linked {
    /// The text.
    pub wgsl: String,
    /// Language extensions the modules enable, sorted: `f16`, and for browsers `subgroups`.
    pub extensions: Vec<String>,
    /// Module path and first line (from 1, in `wgsl`) of each pasted module, in order.
    sections: Vec<(String, usize)>,
}

impl Linked {
    /// `shaders/module.wgsl:line` for a line (from 1) of the linked text.
    pub fn place(&self, line: usize) -> String {
        let section = self.sections.iter().rev().find(|(_, first)| *first <= line);
        match section {
            Some((module, first)) => format!("shaders/{module}.wgsl:{}", line - first + 1),
            None => format!("linked text:{line}"),
        }
    }

    /// Module paths that were linked, entry last.
    pub fn modules(&self) -> impl Iterator<Item = &str> {
        self.sections.iter().map(|(module, _)| module.as_str())
    }
}

struct Module {
    path: String,
    body: String,
    enables: Vec<String>,
    imports: Vec<(String, String)>,
    declared: BTreeSet<String>,
}

/// Links a variant from its sources.
///
/// # Errors
/// Unknown modules or names, duplicates, cycles, uses without import, edits that do not match once.
pub fn link(
    sources: &Sources,
    variant: &Variant,
    edits: &[Edit],
    target: Target,
) -> Result<Linked, ShaderError> {
    let mut linker = Linker {
        sources,
        variant,
        edits,
        target,
        order: Vec::new(),
        open: Vec::new(),
    };
    linker.visit(variant.entry(), &variant.to_string())?;
    for edit in edits {
        if !linker.order.iter().any(|module| module.path == edit.module) {
            return Err(mismatch(edit, 0));
        }
    }
    check_names(&linker.order)?;
    Ok(paste(&linker.order))
}

struct Linker<'a> {
    sources: &'a Sources,
    variant: &'a Variant,
    edits: &'a [Edit],
    target: Target,
    order: Vec<Module>,
    open: Vec<String>,
}

impl Linker<'_> {
    fn visit(&mut self, path: &str, importer: &str) -> Result<(), ShaderError> {
        if self.order.iter().any(|module| module.path == path) {
            return Ok(());
        }
        if self.open.iter().any(|module| module == path) {
            return Err(ShaderError::Cycle {
                module: path.to_owned(),
            });
        }
        let module = self.parse(path, importer)?;
        self.open.push(path.to_owned());
        for (imported, name) in &module.imports {
            self.visit(imported, path)?;
            let found = self.order.iter().find(|other| other.path == *imported);
            if !found.is_some_and(|other| other.declared.contains(name)) {
                return Err(ShaderError::UnknownName {
                    importer: path.to_owned(),
                    module: imported.clone(),
                    name: name.clone(),
                });
            }
        }
        self.open.pop();
        self.order.push(module);
        Ok(())
    }

    fn parse(&self, path: &str, importer: &str) -> Result<Module, ShaderError> {
        let mut text = if path == "variant" {
            self.variant.module_text()
        } else {
            let unknown = || ShaderError::UnknownModule {
                importer: importer.to_owned(),
                module: path.to_owned(),
            };
            self.sources.get(path).ok_or_else(unknown)?.to_owned()
        };
        for edit in self.edits.iter().filter(|edit| edit.module == path) {
            let count = text.matches(edit.find).count();
            if count != 1 {
                return Err(mismatch(edit, count));
            }
            text = text.replace(edit.find, edit.replace);
        }
        let mut module = Module {
            path: path.to_owned(),
            body: String::new(),
            enables: Vec::new(),
            imports: Vec::new(),
            declared: BTreeSet::new(),
        };
        for (index, line) in text.lines().enumerate() {
            let code = line.trim();
            if let Some(import) = code.strip_prefix("import ") {
                let malformed = || ShaderError::MalformedImport {
                    module: path.to_owned(),
                    line: index + 1,
                };
                self.import(import, &mut module).ok_or_else(malformed)?;
            } else if let Some(enable) = code.strip_prefix("@if(web) ") {
                if self.target == Target::Web {
                    module.enables.push(enable.to_owned());
                }
            } else if code.starts_with("enable ") {
                module.enables.push(code.to_owned());
            } else {
                module.body.push_str(line);
            }
            module.body.push('\n');
        }
        module.declared = declarations(&module.body);
        Ok(module)
    }

    /// Reads `package::a::b::{x, y};` (after the word `import`) into `module.imports`.
    fn import(&self, text: &str, module: &mut Module) -> Option<()> {
        let path = text.trim().strip_suffix(';')?.strip_prefix("package::")?;
        let (folder, names) = path.rsplit_once("::")?;
        let names = names
            .strip_prefix('{')
            .map_or(Some(names), |list| list.strip_suffix('}'))?;
        let folder = folder.replace("::", "/");
        let resolved = match self.variant.chosen(&folder) {
            Some(choice) => format!("{folder}/{choice}"),
            None => folder,
        };
        for name in names.split(',').map(str::trim) {
            if name.is_empty() || !name.chars().all(|c| c.is_ascii_alphanumeric() || c == '_') {
                return None;
            }
            module.imports.push((resolved.clone(), name.to_owned()));
        }
        Some(())
    }
}

fn mismatch(edit: &Edit, count: usize) -> ShaderError {
    ShaderError::EditMismatch {
        edit: edit.name.to_owned(),
        module: edit.module.to_owned(),
        find: edit.find.to_owned(),
        count,
    }
}

fn check_names(modules: &[Module]) -> Result<(), ShaderError> {
    let mut owners: BTreeMap<&str, &str> = BTreeMap::new();
    for module in modules {
        for name in &module.declared {
            if let Some(first) = owners.insert(name, &module.path) {
                return Err(ShaderError::DuplicateName {
                    name: name.clone(),
                    first: first.to_owned(),
                    second: module.path.clone(),
                });
            }
        }
    }
    for module in modules {
        for token in tokens(&module.body)
            .iter()
            .filter(|token| !token.member && !token.labelled)
        {
            let Some(owner) = owners.get(token.text) else {
                continue;
            };
            let imported = module.imports.iter().any(|(_, name)| name == token.text);
            if *owner != module.path && !imported {
                return Err(ShaderError::NotImported {
                    module: module.path.clone(),
                    name: token.text.to_owned(),
                    owner: (*owner).to_owned(),
                });
            }
        }
    }
    Ok(())
}

fn paste(modules: &[Module]) -> Linked {
    let enables: BTreeSet<&str> = modules
        .iter()
        .flat_map(|module| &module.enables)
        .map(String::as_str)
        .collect();
    let mut wgsl = String::new();
    for enable in &enables {
        wgsl.push_str(enable);
        wgsl.push('\n');
    }
    let mut sections = Vec::new();
    for module in modules {
        wgsl.push_str(&format!("// ---- shaders/{}.wgsl\n", module.path));
        sections.push((module.path.clone(), wgsl.lines().count() + 1));
        wgsl.push_str(&module.body);
    }
    let extension = |line: &&str| {
        line.trim_start_matches("enable ")
            .trim_end_matches(';')
            .to_owned()
    };
    Linked {
        wgsl,
        extensions: enables.iter().map(extension).collect(),
        sections,
    }
}

struct Token<'a> {
    text: &'a str,
    depth: usize,
    /// Follows a dot: a field or swizzle, never a module's name.
    member: bool,
    /// Followed by a colon: declares a field, parameter or local.
    labelled: bool,
}

/// Identifiers of a WGSL text outside comments and attributes, with their brace depth.
fn tokens(text: &str) -> Vec<Token<'_>> {
    let bytes = text.as_bytes();
    let (mut at, mut depth, mut previous) = (0, 0usize, b' ');
    let mut found = Vec::new();
    while at < bytes.len() {
        match bytes[at] {
            b'/' if bytes.get(at + 1) == Some(&b'/') => {
                at = text[at..].find('\n').map_or(bytes.len(), |end| at + end);
                continue;
            }
            b'/' if bytes.get(at + 1) == Some(&b'*') => {
                at = text[at..]
                    .find("*/")
                    .map_or(bytes.len(), |end| at + end + 2);
                continue;
            }
            b'{' | b'(' => depth += 1,
            b'}' | b')' => depth = depth.saturating_sub(1),
            c if c.is_ascii_alphabetic() || c == b'_' => {
                let start = at;
                while at < bytes.len() && (bytes[at].is_ascii_alphanumeric() || bytes[at] == b'_') {
                    at += 1;
                }
                let next = text[at..]
                    .trim_start()
                    .as_bytes()
                    .first()
                    .copied()
                    .unwrap_or(b' ');
                if previous != b'@' {
                    let token = Token {
                        text: &text[start..at],
                        depth,
                        member: previous == b'.',
                        labelled: next == b':',
                    };
                    found.push(token);
                }
                previous = b'a';
                continue;
            }
            c if c.is_ascii_digit() => {
                while at < bytes.len() && (bytes[at].is_ascii_alphanumeric() || bytes[at] == b'.') {
                    at += 1;
                }
                previous = b'0';
                continue;
            }
            _ => {}
        }
        if !bytes[at].is_ascii_whitespace() {
            previous = bytes[at];
        }
        at += 1;
    }
    found
}

/// Names declared at module scope.
fn declarations(text: &str) -> BTreeSet<String> {
    let tokens = tokens(text);
    let outer: Vec<&Token<'_>> = tokens.iter().filter(|token| token.depth == 0).collect();
    let mut names = BTreeSet::new();
    for (index, token) in outer.iter().enumerate() {
        let after = &outer[index + 1..];
        let name = match token.text {
            "fn" | "struct" | "const" | "alias" | "override" => after.first(),
            // `var<storage, read> name: type`: the name is the first identifier followed by a colon.
            "var" => after.iter().find(|token| token.labelled),
            _ => None,
        };
        if let Some(name) = name {
            names.insert(name.text.to_owned());
        }
    }
    names
}

#[cfg(test)]
mod tests {
    use super::*;

    fn sources(files: &[(&str, &str)]) -> Sources {
        let mut all: BTreeMap<String, String> = Sources::embedded()
            .modules()
            .map(|module| (module.to_owned(), String::new()))
            .collect();
        all.extend(
            files
                .iter()
                .map(|(module, text)| ((*module).to_owned(), (*text).to_owned())),
        );
        Sources::replaced_by(all).expect("all embedded names are present")
    }

    fn link_test(files: &[(&str, &str)]) -> Result<Linked, ShaderError> {
        link(
            &sources(files),
            &Variant::new("entry").slot("weight", "a").number("TILE", 4),
            &[],
            Target::Native,
        )
    }

    #[test]
    fn pastes_each_module_once_in_dependency_order() {
        let linked = link_test(&[
            (
                "entry",
                "import package::x::f;\nimport package::y::g;\nfn main() { f(); g(); }",
            ),
            ("x", "import package::y::g;\nfn f() { g(); }"),
            ("y", "// a comment\nfn g() {}"),
        ])
        .expect("links");
        assert_eq!(linked.modules().collect::<Vec<_>>(), ["y", "x", "entry"]);
        assert_eq!(linked.wgsl.matches("fn g()").count(), 1);
        assert!(linked.wgsl.contains("// a comment"));
    }

    #[test]
    fn keeps_line_numbers_of_the_files() {
        let linked = link_test(&[
            ("entry", "import package::x::f;\n\nfn main() { f(); }"),
            ("x", "fn f() {}"),
        ])
        .expect("links");
        let line = linked
            .wgsl
            .lines()
            .position(|line| line.contains("fn main"))
            .expect("main is there")
            + 1;
        assert_eq!(linked.place(line), "shaders/entry.wgsl:3");
    }

    #[test]
    fn resolves_a_slot_to_its_chosen_module() {
        let linked = link_test(&[
            ("entry", "import package::weight::load;\nimport package::variant::TILE;\nfn main() { load(TILE); }"),
            ("weight/a", "fn load(x: u32) {}"),
        ])
        .expect("links");
        assert!(linked.wgsl.contains("const TILE: u32 = 4u;"));
        assert!(linked.modules().any(|module| module == "weight/a"));
    }

    #[test]
    fn hoists_enables_and_drops_web_only_lines() {
        let files = sources(&[(
            "entry",
            "@if(web) enable subgroups;\nenable f16;\nfn main() {}",
        )]);
        let native = link(&files, &Variant::new("entry"), &[], Target::Native).expect("links");
        assert!(native.wgsl.starts_with("enable f16;\n") && !native.wgsl.contains("subgroups"));
        let web = link(&files, &Variant::new("entry"), &[], Target::Web).expect("links");
        assert!(web.wgsl.starts_with("enable f16;\nenable subgroups;\n"));
    }

    #[test]
    fn rejects_unknown_modules_names_duplicates_and_cycles() {
        let unknown = link_test(&[("entry", "import package::nowhere::f;\n")]);
        assert!(matches!(unknown, Err(ShaderError::UnknownModule { .. })));
        let name = link_test(&[("entry", "import package::x::f;\n"), ("x", "fn g() {}")]);
        assert!(matches!(name, Err(ShaderError::UnknownName { .. })));
        let twice = link_test(&[
            ("entry", "import package::x::f;\nfn g() {}"),
            ("x", "fn f() {}\nfn g() {}"),
        ]);
        assert!(matches!(twice, Err(ShaderError::DuplicateName { .. })));
        let ring = link_test(&[
            ("entry", "import package::x::f;\n"),
            ("x", "import package::y::g;\nfn f() {}"),
            ("y", "import package::x::f;\nfn g() {}"),
        ]);
        assert!(matches!(ring, Err(ShaderError::Cycle { .. })));
    }

    #[test]
    fn rejects_a_use_without_an_import() {
        let error = link_test(&[
            ("entry", "import package::x::f;\nfn main() { f(); g(); }"),
            ("x", "import package::y::g;\nfn f() { g(); }"),
            ("y", "fn g() {}"),
        ]);
        assert!(matches!(error, Err(ShaderError::NotImported { .. })));
    }

    #[test]
    fn rejects_a_malformed_import_with_its_line() {
        let error = link_test(&[("entry", "// one\nimport super::x::f\n")]);
        assert_eq!(
            error.err(),
            Some(ShaderError::MalformedImport {
                module: "entry".into(),
                line: 2
            })
        );
    }

    #[test]
    fn an_edit_must_match_exactly_once() {
        let files = sources(&[("entry", "fn main() { let a = 1; let b = 1; }")]);
        let edit = |find| Edit {
            name: "test",
            module: "entry",
            find,
            replace: "= 2",
        };
        let twice = link(
            &files,
            &Variant::new("entry"),
            &[edit("= 1")],
            Target::Native,
        );
        assert!(matches!(
            twice,
            Err(ShaderError::EditMismatch { count: 2, .. })
        ));
        let once = link(
            &files,
            &Variant::new("entry"),
            &[edit("a = 1")],
            Target::Native,
        )
        .expect("links");
        assert!(once.wgsl.contains("let = 2;"));
    }

    #[test]
    fn finds_declarations_of_every_kind() {
        let text = "const A: u32 = 1u;\nalias B = f32;\nstruct C { field: u32 }\n\
            @group(0) @binding(1) var<storage, read_write> d: array<u32>;\nvar<workgroup> e: array<f32, 4>;\n\
            fn f(parameter: u32) { let local = 1; }";
        let names: Vec<String> = declarations(text).into_iter().collect();
        assert_eq!(names, ["A", "B", "C", "d", "e", "f"]);
    }
}
