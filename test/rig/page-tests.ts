/** Folders of tests that do not run in the pages of `npm test`: they start browsers and servers, or belong to a command of their own. */
export const OTHER_TESTS = ['node', 'demo', 'rig', 'fuzz', 'mutants', 'large', 'commands'];
