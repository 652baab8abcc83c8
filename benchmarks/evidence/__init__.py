"""The tables of the documents, written from what the benchmarks measured and never typed.

A table stands in README.md or in a page of docs/ between two comments. The first names what draws
the table, and the files that it is drawn from:

    <!-- table: what the default costs from benchmarks/results/default/cost.json -->
    <!-- end of table -->

    python benchmarks/evidence/write.py            # writes all tables anew
    python benchmarks/evidence/write.py --check    # names the pages that would change; exit code 1

Whatever stands between the comments is replaced. tests/docs/test_evidence.py writes all tables anew
and compares; it also refuses a table of figures in docs/evidence that has no comments around it.

To add a table:

1. In a module of this package, one for each subject, write a function that takes the loaded files
   and returns lines of Markdown. All modules are found by themselves.

       from benchmarks.evidence.registry import table
       from benchmarks.soft.table import cost

       @table("what gates cost")
       def gates_cost(results):
           return cost(results)

   A benchmark's own table.py is imported as `benchmarks.SUBJECT.table`; what it imports from beside
   itself must then be imported in the same way. `table("gates, " + name)(function)` in a loop
   registers one table for each part of a file.
2. Put the two comments into the page. Several files are separated by commas, and the function gets
   them in that order; of a folder it gets the path. A long comment may be broken over lines. It
   begins its line.
3. Run `write.py`.

A row of the overview, docs/evidence/index.md, is a claim: a function of loaded files that returns
the figure in words. The files are below benchmarks/results:

    from benchmarks.evidence.registry import claim

    @claim("One bad member among five: gates leave it out", "soft_merging.md", "soft/cost.json")
    def one_bad_member(results):
        return f"{results['gained']:+.1f} points above the average"
"""
