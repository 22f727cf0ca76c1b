//! What holds for all commands: secrets, exit codes, streams.

use crate::program::Folder;

#[test]
fn a_secret_in_an_argument_is_a_usage_error_that_does_not_quote_it() {
    let folder = Folder::new();
    for argument in [
        "whsec_a3f9b2c1d4e5f6a7b8c9d0e1",
        "--secret=whsec_a3f9b2c1d4e5f6a7b8c9d0e1",
        "ptk_live_0123456789abcdef",
        "https://user:hunter2@hooks.example.com/",
    ] {
        let ended = folder.program(argument).may_show_secrets().run();
        let ended = ended.with_code(2);
        assert_eq!(ended.stdout, "");
        assert!(
            ended.stderr.starts_with("error: argument 1 contains "),
            "{}",
            ended.stderr
        );
        assert!(!ended.stderr.contains("a3f9") && !ended.stderr.contains("0123"));
        assert!(!ended.stderr.contains("hunter2"));
    }
}

#[test]
fn help_goes_to_standard_output_and_errors_of_usage_to_standard_error() {
    let folder = Folder::new();
    let help = folder.program("--help").run().with_code(0);
    assert!(help.stdout.contains("Usage:") && help.stderr.is_empty());
    let wrong = folder.program("--no-such-option").run().with_code(2);
    assert!(wrong.stdout.is_empty() && wrong.stderr.contains("--no-such-option"));
}

#[test]
fn colours_are_not_printed_without_a_terminal() {
    let folder = Folder::new();
    for arguments in ["--help", "--no-such-option"] {
        let ended = folder.program(arguments).run();
        assert!(!ended.stdout.contains('\u{1b}') && !ended.stderr.contains('\u{1b}'));
    }
}
