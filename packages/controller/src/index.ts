/**
 * The controller: validates, signs and commits configuration. Any number, stateless.
 * @module
 */
export { type ControllerClock, type ControllerComponents, systemClock } from './components.ts';
export { type Controller, type ControllerInit, createController } from './controller.ts';
export { guidOf, ids } from './ids.ts';
