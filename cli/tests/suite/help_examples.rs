//! Each command's `--help` has examples, and each example works.

use crate::program::Folder;

/// The lines under "Examples:" of a command's help. A line that ends in a backslash continues.
pub(crate) fn examples(folder: &Folder, command: &str) -> Vec<String> {
    let help = folder
        .program(&format!("{command} --help"))
        .run()
        .with_code(0)
        .stdout;
    let (_, examples) = help
        .split_once("Examples:\n")
        .unwrap_or_else(|| panic!("`{command} --help` has no examples:\n{help}"));
    let examples = examples.replace("\\\n", " ");
    let lines = examples.lines().take_while(|line| !line.is_empty());
    let lines: Vec<String> = lines.map(|line| line.trim().to_owned()).collect();
    assert!(!lines.is_empty());
    lines
}

/// Runs the examples of a command with these variables; the receiver's address in them is replaced.
/// In an example with ` | `, each program reads what the one before it printed.
pub(crate) fn run_examples(
    folder: &Folder,
    command: &str,
    receiver: &str,
    variables: &[(&str, &str)],
) {
    for example in examples(folder, command) {
        let line = example.replace("http://127.0.0.1:3000", receiver);
        let mut input = Vec::new();
        for part in line.split(" | ") {
            let arguments = part
                .strip_prefix("ptolemy-webhooks ")
                .unwrap_or_else(|| panic!("{example}"));
            let mut program = folder.program(arguments).input(input);
            for (name, value) in variables {
                program = program.variable(name, *value);
            }
            input = program.run().with_code(0).bytes;
        }
    }
}

#[test]
fn the_examples_of_completions_and_man_work() {
    let folder = Folder::new();
    for command in ["completions", "man"] {
        run_examples(&folder, command, "http://127.0.0.1:3000", &[]);
    }
    let page = std::fs::read_to_string(folder.path("ptolemy-webhooks-completions.1")).unwrap();
    assert!(page.contains("bash"));
}
