package test

// companionBehaviours is what companions are promised, and the test that shows
// it: a function of this package, and behind a slash one of its cases by name.
var companionBehaviours = []struct{ behaviour, test string }{
	// Keys
	{"every instance of numprocs has its number", "TestInstancesAreNumbered"},
	{"autorestart and success_codes", "TestAutorestartAndSuccessCodes"},
	{"startretries used up is FATAL", "TestBackoffDoublesUntilItsLimit"},
	{"an essential companion's exit code is gofork's", "TestEssentialCompanionEndsGofork/exit code"},
	{"an essential companion's signal is 128 and its number", "TestEssentialCompanionEndsGofork/signal"},
	{"an essential companion that is done is 5", "TestEssentialCompanionEndsGofork/done"},
	{"an essential companion that is FATAL ends gofork", "TestEssentialCompanionEndsGofork/gave up"},
	{"an end of a companion by code 3 or 4 is its own affair", "TestCompanionExitCodesDoNotStopTheWebTier"},
	{"max_memory recycles, as expected", "TestMaxMemoryRecyclesACompanion"},
	{"max_lifetime and its jitter recycle, as expected", "TestMaxLifetimeRecyclesACompanion"},
	{"rlimits, nice, oom_score_adj, umask, user and group hold from the start", "TestProcessKeysHoldFromTheChildsStart"},
	{"user and group by name, with the supplementary groups", "TestUserGroupAndSupplementaryGroups"},
	{"cwd and umask, inherited and own", "TestUmaskAndDirectories"},
	{"READY=1 of the companion ends STARTING", "TestCompanionMayAnnounceItself"},
	{"READY=1 of a companion's child, by gofork notify", "TestScriptAnnouncesItselfWithTheClient"},
	{"on_reload: left alone, restarted, or told by a signal", "TestOnReloadSaysWhatHappensToAnUnchangedCompanion"},
	{"hash_files and env_file count as the spec", "TestFilesOfASpecCountAsTheSpec"},

	// Reload
	{"added, removed, changed, unchanged; the manager keeps its pid", "TestReloadTouchesOnlyTheCompanionsThatDiffer"},
	{"numprocs up and down touches only the instances concerned", "TestNumprocsTouchesOnlyTheInstancesConcerned"},
	{"a manual stop outlives reloads and the manager", "TestManualStopOutlivesReloadAndManager"},
	{"a thousand with one changed: one restart, little processor time", "TestReloadOfAThousandCompanionsCostsLittle"},

	// Requests
	{"start, stop and restart by hand", "TestStoppedCompanionIsExpectedAndStaysStopped"},
	{"start, stop, restart, signal and logs of the client", "TestScripts"},
	{"a start in every state", "TestStartWorksInEveryState"},
	{"requests at the same time are each told what came of them", "TestRequestsAtTheSameTimeAreAnsweredOneByOne"},
	{"a restart is answered when the old group is gone", "TestRestartIsAnsweredWhenTheOldGroupIsGone"},

	// Stop
	{"a group that its leader leaves behind is waited for and killed", "TestRestartWaitsForTheLeadersGroup"},
	{"a stubborn group is killed after its window", "TestStopKillsAStubbornGroupAfterItsWindow"},
	{"a process that left the group is ended, too", "TestStopLeavesNoDaemonBehind"},
	{"a stop reaches companions in every state", "TestStopReachesCompanionsInEveryState"},
	{"a stop takes as long as the slowest", "TestStopTakesAsLongAsTheSlowest"},
	{"three hundred are stopped at the same time", "TestStopOfThreeHundredCompanions"},
	{"300 and 30 s make a manager stop window of 310 s", "TestManagerStopWindowFollowsTheSlowestCompanion/derived"},
	{"manager.stop_timeout goes before", "TestManagerStopWindowFollowsTheSlowestCompanion/explicit"},
	{"after the window the arbiter kills the manager and what is below", "TestArbiterKillsTheManagerAfterItsWindow"},

	// Output
	{"inherit, null, a path, and stderr joined", "TestOutputGoesWhereItIsSaid"},
	{"a line is a record", "TestCompanionOutputBecomesRecords"},
	{"a JSON line stays intact in its record", "TestJSONLineStaysIntactInItsRecord"},
	{"a line over 64 KiB is split", "TestLongOutputLineIsSplit"},
	{"a path with log_max_size is rotated, numbered, in whole lines", "TestCapturedFileIsRotatedBySize"},
	{"a file is reopened on USR1, and after it was moved or removed", "TestCapturedFileIsReopened"},
	{"the last 256 lines are kept for logs", "TestLogsShowTheLastLinesKept"},
	{"crash reports carry the last five lines", "TestCrashReportsCarryTheLastLines"},
	{"a reader of the log that goes away ends nothing", "TestLogReaderThatGoesAwayEndsNothing"},
	{"a killed manager leaves captured companions their stop signal", "TestKilledManagerLeavesChattyCompanionsTheirStopSignal"},

	// Restart
	{"a crash is an error and waits for a second", "TestKilledCompanionRestartsAfterASecond"},
	{"the delay doubles until its limit", "TestBackoffDoublesUntilItsLimit"},
	{"a manager that crashes again waits for longer", "TestManagersCrashesBackOff"},
	{"a killed manager comes back, and never two of one instance", "TestKilledManagerComesBackWithoutTwoOfOneInstance"},
	{"a killed manager's stubborn companion is killed", "TestKilledManagersStubbornCompanionIsKilled"},

	// What a companion is and costs
	{"no socket, no control socket, nobody else's pipe", "TestCompanionHoldsNothingOfOthers"},
	{"nothing of gofork's private environment", "TestCompanionEnvironment"},
	{"a compiled-in companion has no more than a command", "TestCompiledInCompanionHasNoSockets"},
	{"default signals, and a group of its own", "TestChildrenStartWithDefaultSignalsInAGroupOfTheirOwn"},
	{"arbiter and manager do not wake while nothing is due", "TestIdleSupervisorsDoNotWake"},
	{"a Func has its process, its context and its stack on a panic", "TestCompiledInFunctionsRunInProcessesOfTheirOwn"},
	{"a program of somebody's own brings its companions", "TestEmbeddedApplicationHasAllOfGofork"},
}
