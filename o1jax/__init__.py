"""o1jax: reinforcement learning of reasoning by search, in JAX (the roadmap of arXiv:2412.14135).

The story, in ten lines:

 1. A `types.Task` poses problems, shows how to solve some, and checks answers.
 2. A `types.Prompt` is what a policy is asked. It never holds the answer.
 3. A policy writes a solution as steps; `policy.initialise` teaches it to, from text.
 4. `decode.grow` samples steps under nodes. That is the one way a `types.Tree` grows.
 5. A search, a row of `search.SEARCHES`, is a rule for which nodes to expand.
 6. `verify.outcome` writes exact verdicts on finished solutions.
 7. `reward.process` turns verdicts into labels of the critic: the chance to be right after a step.
 8. `learning.credit` turns the numbers on a tree into weights and targets, and
    `learning.objective` turns those into a loss.
 9. `fused.search_and_learn` does 4 to 8 as one compiled update.
10. `recipes.stages` strings updates into a job, and `evaluation.report` shows what came of it.

The floors of the house; a module imports only from lower ones (`docs/DESIGN.md`):

    recipes                        a config becomes functions; the stages of a job
    runtime                        config, loop, mesh, checkpoints, processes, metrics
    evaluation                     accuracy, statistics, report
    fused                          search and learn, as one update
    search    learning             chapters 3 and 4 of the roadmap
    policy    reward    dialogue   chapters 1 and 2; turns
    decode                         token rules, the decoding loop, growing a tree
    tasks     data       verify    problems; readers and pipelines; verdicts
    model     text                 the transformer; tokenizers and the step format
    types     tree  keys files     nouns; pure walks over a tree; streams of random numbers

Nothing is imported here. Import what you need from the module that has it:

    from o1jax.types import Prompt, Reference, Tree, Task, TrainState
    from o1jax.model.transformer import LanguageModel
    from o1jax.model.variants import variant
    from o1jax.model.forward import init, forward_tree
    from o1jax.search import CHOICES, SEARCHES, run
    from o1jax.learning.credit import assign_credit
    from o1jax.learning.objective import tree_loss
    from o1jax.fused import search_and_learn
"""
