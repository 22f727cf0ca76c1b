//! What `check --help` says beside the options.

pub(super) const AFTER_HELP: &str = "\
Each probe sends one or more requests to the URL, and to nothing else: redirects are not followed and \
no proxy is used. The receiver can be written in any language. Each probe has a weight:

  security     a request that Ptolemy did not send is accepted
  correctness  a delivery of Ptolemy's is lost, or sent again and again
  advice       worth knowing, or not documented by Ptolemy; never sets the exit code

and a basis, which --list and --json show:

  documented         Ptolemy's public documentation
  standard           a rule of HTTP or JSON
  security practice  usual in security; Ptolemy documents nothing about it
  assumed            an assumption about what Ptolemy sends
  own choice         a choice of this project

A probe is skipped if its result would have no meaning: good-delivery was rejected, the receiver stopped \
answering, nothing was there to observe, or the clock of the receiver differs, as the Date of its answers \
says, and the two clocks lead to different results.

The receiver stores the events that it accepts. None of them asks it to archive or delete anything, unless \
--event does. Each id in them is a UUID that begins with c4ec4c4e, and no two events share one, except \
where a probe repeats an event; identifiers contain `ptolemy-webhooks-check`, names and labels too. The \
exceptions: --hostile sends an event without an id, and bodies that are not events. If an event has effects \
that you cannot undo, check a staging system, or pass --no-stored to send only requests that must be rejected.

If a certificate is not trusted, SSL_CERT_FILE can name a PEM file with its CA (not on macOS and Windows, \
where the system's own list counts).

Exit codes: 0 if no security or correctness probe fails, 1 if one does or the receiver cannot be reached, \
2 if the command line or the configuration is invalid, 130 after Ctrl-C, 143 after SIGTERM and 129 after \
SIGHUP; what was found until then is printed.

Examples:
  ptolemy-webhooks check http://127.0.0.1:3000/webhooks/ptolemy
  ptolemy-webhooks check http://127.0.0.1:3000/webhooks/ptolemy --only good-delivery,unsigned --json
  ptolemy-webhooks check http://127.0.0.1:3000/webhooks/ptolemy --event time_series_value.created
  ptolemy-webhooks check http://127.0.0.1:3000/webhooks/ptolemy --no-stored --rate 50
  ptolemy-webhooks check --list";
