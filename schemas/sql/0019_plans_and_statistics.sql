-- No plan depends on what stands in these columns; looking through them after each new index took a core for most of a second.
ALTER TABLE chunks ALTER text SET STATISTICS 0, ALTER terms SET STATISTICS 0;
ALTER TABLE chunk_vectors ALTER embedding SET STATISTICS 0;
-- A vector fills its row and never gets smaller: no attempt to compress what fits a page as it is.
ALTER TABLE chunk_vectors SET (toast_tuple_target = 8160);
-- One job by its id: any plan of it is the right one, and choosing anew among the days' partitions took longer than the update.
ALTER FUNCTION finish_job SET plan_cache_mode = force_generic_plan;
