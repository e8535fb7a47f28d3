package test

import (
	"go/ast"
	"go/parser"
	"go/token"
	"path/filepath"
	"slices"
	"strconv"
	"strings"
	"testing"
)

// behaviours is what the web tier promises, and the test that shows it: a
// function of this package, and behind a slash one of its cases by name.
var behaviours = []struct{ behaviour, test string }{
	// Sockets
	{"a stop closes every listener", "TestStopClosesEveryListener"},
	{"the stop of a gofork without sibling removes its unix sockets", "TestStopCommandEndsGoforkAndItsFiles"},
	{"the stop of an old arbiter beside a new one unlinks no unix socket", "TestUpgradeFromSignalToPromotion"},
	{"the stop of a new arbiter beside an old one unlinks no unix socket", "TestEndingTheNewArbiterBacksTheUpgradeOut"},
	{"the sockets of systemd are never unlinked", "TestSocketsOfSystemdAreServedAndLeftAlone"},
	{"with reuse_port a reload or a crash never unlinks or replaces a socket", "TestReusePortKeepsTheSlotsSocket"},
	{"sockets are taken over from LISTEN_FDS and LISTEN_PID", "TestSocketsOfSystemdAreServedAndLeftAlone"},
	{"sockets are taken over from GOFORK_FD and GOFORK_PID", "TestSocketsOfAnOlderArbiterAreTakenOver"},
	{"a server that waits in accept(2) runs as it is", "TestServerThatWaitsInAccept"},
	{"connections wait in the queue for a slot's next worker", "TestConnectionsWaitForTheNextWorker"},
	{"an address that is in use is tried five times", "TestAnAddressThatIsNotToBeHadIsTriedFiveTimes"},

	// Signals
	{"HUP is handled", "TestEverySignalIsHandled/SIGHUP"},
	{"QUIT is handled", "TestEverySignalIsHandled/SIGQUIT"},
	{"INT is handled", "TestEverySignalIsHandled/SIGINT"},
	{"TERM is handled", "TestEverySignalIsHandled/SIGTERM"},
	{"TTIN is handled", "TestEverySignalIsHandled/SIGTTIN"},
	{"TTOU is handled", "TestEverySignalIsHandled/SIGTTOU"},
	{"USR1 is handled", "TestEverySignalIsHandled/SIGUSR1"},
	{"USR2 is handled", "TestEverySignalIsHandled/SIGUSR2"},
	{"WINCH is handled", "TestEverySignalIsHandled/SIGWINCH"},
	{"CHLD is handled, and logged at debug", "TestSIGCHLDIsLoggedAtDebug"},
	{"no signal of a burst of 200 mixed ones is lost", "TestNoSignalOfABurstIsLost"},

	// Exits
	{"a normal exit is reaped silently", "TestExpectedExitIsSilent"},
	{"an exit code is logged", "TestExitsAreLoggedByWhatTheyMean/code 7"},
	{"a worker that TERM ended from outside is a warning", "TestExitsAreLoggedByWhatTheyMean/SIGTERM"},
	{"a worker that KILL ended is an error with the hint", "TestExitsAreLoggedByWhatTheyMean/SIGKILL"},
	{"another signal is named", "TestExitsAreLoggedByWhatTheyMean/SIGSEGV"},
	{"exit 3 at boot ends gofork with 3", "TestFirstBootFailureEndsGofork/worker failed to boot"},
	{"exit 4 at boot ends gofork with 4", "TestFirstBootFailureEndsGofork/app failed to load"},
	{"boot_retries bounds the tries of the first generation", "TestFirstBootFailureEndsGofork/other exit with one retry"},
	{"boot_timeout ends a worker that is not ready", "TestWorkerThatIsNeverReadyIsKilledAtBootTimeout"},
	{"a ready worker that dies is replaced at once", "TestKilledWorkerIsReplacedAtOnce"},
	{"a slot that crashes again backs off, alone", "TestSlotBacksOffAlone"},
	{"status and readiness tell a tier that does not serve", "TestReadinessTellsALostTier"},

	// Clocks
	{"a hung worker gets ABRT, then KILL", "TestSilentHeartbeatIsAbortedThenKilled"},
	{"a frozen worker is replaced", "TestFrozenHandlerWorkerIsReplaced"},
	{"a handler worker prints its stacks on ABRT", "TestAbortedHandlerWorkerPrintsItsStacks"},
	{"the log names the clock that ran out", "TestTimeoutRecordsNameTheClock"},

	// Reload
	{"a reload starts the configured number, and is logged as hang up", "TestReloadReplacesEveryWorkerAndEndsEachOnce"},
	{"old workers get one TERM each, when the new ones are ready", "TestReloadReplacesEveryWorkerAndEndsEachOnce"},
	{"a reload waits for what the old workers hold", "TestReloadAnswersWhatTheOldWorkersHold"},
	{"env and env_file reach workers, hooks and companions, and a reload takes them away", "TestReloadTakesRemovedEnvironmentAway"},
	{"a reload changes addresses by difference", "TestReloadOpensAndClosesAddressesByDifference"},
	{"all or nothing: an app that exits at boot", "TestReloadThatFailsChangesNothing/app exits at boot"},
	{"all or nothing: an app that fails to load", "TestReloadThatFailsChangesNothing/app fails to load"},
	{"all or nothing: one worker of several", "TestReloadThatFailsChangesNothing/one worker of two exits at boot"},
	{"all or nothing: boot_timeout", "TestReloadThatFailsChangesNothing/app is not ready in time"},
	{"all or nothing: a broken file", "TestReloadThatFailsChangesNothing/file is broken"},
	{"all or nothing: an address that cannot be bound", "TestReloadThatFailsChangesNothing/address is taken"},
	{"the reason of a rollback is kept in status", "TestReloadThatFailsChangesNothing"},
	{"gofork reload waits for the result", "TestReloadCommandSaysHowItWent"},
	{"max_surge bounds the extra workers, never below the count", "TestMaxSurgeBoundsWhatAReloadStarts"},
	{"a roll that fails half way keeps both generations", "TestReloadThatFailsHalfWayKeepsBothGenerations"},
	{"status, a crash and a scaling are handled at once during a reload", "TestEverythingIsHandledAtOnceDuringAReload"},
	{"TERM during a reload stops at once", "TestReloadUnderWayDoesNotHoldAStopUp"},
	{"reloads during a reload are done once after it", "TestReloadsAskedForDuringAReloadAreDoneOnce"},
	{"watched files reload, and a failure keeps serving", "TestWatchedFilesReload"},

	// Scaling and start
	{"scaling holds over reloads until the file's count changes", "TestScalingHoldsUntilTheFilesCountChanges"},
	{"TTOU stops at one worker", "TestScalingDownStopsAtOneWorker"},
	{"scaling down answers what is in flight", "TestScalingDownAnswersWhatIsInFlight"},
	{"WEB_CONCURRENCY counts where the file does not", "TestWebConcurrencyCountsWhereTheFileDoesNot"},
	{"many workers start one after another", "TestManyWorkersAreSpacedOut"},

	// Upgrade
	{"USR2 from the signal to the promotion: pidfile, control socket, companions", "TestUpgradeFromSignalToPromotion"},
	{"two arbiters that are stopped together leave no names behind", "TestTwoArbitersThatStopTogetherLeaveNothing"},
	{"a unix socket that one of two arbiters gives up is the other's", "TestUnixSocketsOfTwoArbiters"},
	{"a new arbiter that is killed leaves no names behind", "TestKilledNewArbiterLeavesNoNames"},
	{"the upgrade is backed out by ending the new arbiter", "TestEndingTheNewArbiterBacksTheUpgradeOut"},
	{"an upgrade that does not boot changes nothing", "TestUpgradeThatDoesNotBootLeavesTheOldOneAlone"},
	{"a second upgrade is refused on both sides", "TestSecondUpgradeIsRefusedOnBothSides"},
	{"WINCH and then TERM of the old arbiter", "TestUpgradeByWinchAndTerm"},
	{"HUP of the old arbiter after WINCH brings everything back", "TestHangUpAfterWinchBringsEverythingBack"},
	{"kill -9 of the old arbiter: companions never run twice", "TestNewArbiterTakesOverFromAKilledOne"},
	{"an upgrade works with reuse_port", "TestUpgradeKeepsTheSocketsOfTheSlots"},
	{"an upgrade works with the sockets of systemd", "TestSocketsOfSystemdAreServedAndLeftAlone"},
	{"PID 1 refuses an upgrade", "TestPID1RefusesAnUpgrade"},

	// Recycling
	{"max_requests: replacement first, one slot at a time", "TestMaxRequestsReplacesOneSlotAtATime"},
	{"max_lifetime: replacement first, one slot at a time", "TestMaxLifetimeReplacesOneSlotAtATime"},
	{"max_memory: replacement first", "TestMaxMemoryReplacesTheWorkerThatGrew"},
	{"a replacement that does not boot keeps the old worker", "TestRecyclingThatFailsKeepsTheOldWorker"},

	// Hooks
	{"every hook runs, with its variables", "TestEveryHookRunsAndIsToldWhatItIsAbout"},
	{"on_starting that fails stops the start with exit 1", "TestFailedStartingHookStopsTheStart"},
	{"pre_exec that fails stops the upgrade", "TestFailedUpgradeHookStopsTheUpgrade"},
	{"other hooks that fail are logged", "TestOtherHooksThatFailAreLogged"},

	// The host
	{"USR1 reopens the log file", "TestUSR1ReopensTheLogFile"},
	{"USR1 reopens the access log", "TestUSR1ReopensTheAccessLog"},
	{"a stale pidfile is replaced", "TestStalePidfileIsReplaced"},
	{"a pidfile of a living process is respected, and its pid named", "TestPidfileOfALivingProcessIsRespected"},
	{"umask, chdir and cwd", "TestUmaskAndDirectories"},
	{"user, group and supplementary groups", "TestUserGroupAndSupplementaryGroups"},
	{"a second gofork on the same control socket is refused, and the first's pid named", "TestSecondGoforkOnTheSameSocketIsRefused"},
	{"an unexpected end of the manager", "TestKilledManagerComesBackWithoutTwoOfOneInstance"},
	{"an unexpected end of the arbiter leaves nothing behind", "TestKilledArbiterLeavesNothingBehind"},

	// Under load
	{"no request of a handler's fails, whatever is done gracefully", "TestNoRequestFailsWhateverIsDoneGracefully/handler"},
	{"no request of a node app's fails, whatever is done gracefully", "TestNoRequestFailsWhateverIsDoneGracefully/node"},
	{"a graceful stop answers what is in flight", "TestGracefulStopAnswersWhatIsInFlight"},
	{"signals to the last moment leave the exit code", "TestSignalsToTheLastMomentLeaveTheExitCode"},
}

// A behaviour without a test is a hope.
func TestEveryBehaviourHasItsTest(t *testing.T) {
	t.Parallel()
	tests := testFunctions(t)
	seen := map[string]bool{}
	for _, b := range slices.Concat(behaviours, companionBehaviours) {
		if seen[b.behaviour] {
			t.Errorf("%q is listed twice", b.behaviour)
		}
		seen[b.behaviour] = true
		name, subtest, _ := strings.Cut(b.test, "/")
		fn := tests[name]
		switch {
		case fn == nil:
			t.Errorf("%q: there is no test %q", b.behaviour, name)
		case subtest != "" && !mentions(fn, subtest):
			t.Errorf("%q: %s has no case %q", b.behaviour, name, subtest)
		}
	}
}

// testFunctions returns the tests of this package by name.
func testFunctions(t *testing.T) map[string]*ast.FuncDecl {
	t.Helper()
	files, err := filepath.Glob("*_test.go")
	if err != nil {
		t.Fatal(err)
	}
	found := map[string]*ast.FuncDecl{}
	for _, path := range files {
		file, err := parser.ParseFile(token.NewFileSet(), path, nil, parser.SkipObjectResolution)
		if err != nil {
			t.Fatal(err)
		}
		for _, d := range file.Decls {
			if fn, ok := d.(*ast.FuncDecl); ok && fn.Recv == nil && strings.HasPrefix(fn.Name.Name, "Test") {
				found[fn.Name.Name] = fn
			}
		}
	}
	return found
}

// mentions reports whether a function has that string literal.
func mentions(fn *ast.FuncDecl, text string) (found bool) {
	ast.Inspect(fn, func(n ast.Node) bool {
		if lit, ok := n.(*ast.BasicLit); ok && lit.Kind == token.STRING {
			if s, err := strconv.Unquote(lit.Value); err == nil && s == text {
				found = true
			}
		}
		return !found
	})
	return found
}
