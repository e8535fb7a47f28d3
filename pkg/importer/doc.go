// Package importer turns the files of other process managers into a gofork
// configuration: supervisord.conf and Procfile. It reads text and writes text: no
// file, no user and no program is looked up.
//
// What has a counterpart becomes a key; everything else becomes a comment that
// begins with "not mapped:", where it belongs, with what to do instead. Nothing that
// a file says is left out without a word, but for what gofork does anyway and the
// values of passwords.
//
// Defaults that differ are written out: an imported program behaves as before, not as
// gofork would have it.
package importer
